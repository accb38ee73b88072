-- Each schema object of a database that is neither the system's nor an extension's: its kind, name and definition as
-- the server words them. Run with search_path = pg_catalog, which makes every name in them a qualified one. Rights that
-- are those by default are none: pg_dump writes no GRANT for them, however they came to be written down (manual 5.7).
WITH
extension_members AS (
    SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
),
schemas AS (
    SELECT * FROM pg_namespace
    WHERE nspname NOT IN ('pg_catalog', 'information_schema') AND nspname !~ '^pg_(toast|temp)'
      AND ('pg_namespace'::regclass, oid) NOT IN (TABLE extension_members)
),
relations AS (
    SELECT c.*, format('%I.%I', n.nspname, c.relname) AS qualified
    FROM pg_class c JOIN schemas n ON n.oid = c.relnamespace
    WHERE ('pg_class'::regclass, c.oid) NOT IN (TABLE extension_members)
)
SELECT 'column', qualified || '.' || quote_ident(attname),
       concat_ws(' ', format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' END, attidentity::text,
                 attgenerated::text, pg_get_expr(adbin, adrelid), collname)
FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation co ON co.oid = a.attcollation
WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT 'relation', qualified,
       concat_ws(' ', relkind::text, relpersistence::text, 'owner', pg_get_userbyid(relowner),
                 CASE WHEN relrowsecurity THEN 'row security' END, CASE WHEN relforcerowsecurity THEN 'forced' END,
                 nullif((SELECT string_agg(x::text, ',' ORDER BY x::text) FROM unnest(relacl) x),
                        (SELECT string_agg(x::text, ',' ORDER BY x::text)
                         FROM unnest(acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) x)),
                 (SELECT string_agg(o, ',' ORDER BY o) FROM unnest(reloptions) o))
FROM relations WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
UNION ALL
SELECT 'constraint', qualified || '.' || quote_ident(conname), pg_get_constraintdef(k.oid)
FROM relations r JOIN pg_constraint k ON k.conrelid = r.oid
UNION ALL
SELECT 'index', qualified, pg_get_indexdef(indexrelid) || CASE WHEN indisvalid THEN '' ELSE ' (invalid)' END
FROM relations r JOIN pg_index i ON i.indexrelid = r.oid
UNION ALL
SELECT 'policy', qualified || '.' || quote_ident(polname),
       concat_ws(' ', polcmd::text, polpermissive::text,
                 (SELECT string_agg(pg_get_userbyid(o), ',' ORDER BY pg_get_userbyid(o)) FROM unnest(polroles) o
                  WHERE o <> 0),
                 'USING', pg_get_expr(polqual, polrelid), 'CHECK', pg_get_expr(polwithcheck, polrelid))
FROM relations r JOIN pg_policy p ON p.polrelid = r.oid
UNION ALL
SELECT 'trigger', qualified || '.' || quote_ident(tgname), concat_ws(' ', pg_get_triggerdef(t.oid), tgenabled::text)
FROM relations r JOIN pg_trigger t ON t.tgrelid = r.oid WHERE NOT tgisinternal
UNION ALL
SELECT 'rule', qualified || '.' || quote_ident(rulename), pg_get_ruledef(w.oid)
FROM relations r JOIN pg_rewrite w ON w.ev_class = r.oid WHERE rulename <> '_RETURN'
UNION ALL
SELECT 'view', qualified, pg_get_viewdef(oid) FROM relations WHERE relkind IN ('v', 'm')
UNION ALL
SELECT 'statistics', format('%I.%I', nspname, stxname), pg_get_statisticsobjdef(s.oid)
FROM pg_statistic_ext s JOIN schemas n ON n.oid = stxnamespace
UNION ALL
SELECT 'function', format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(p.oid)),
       concat_ws(' ', CASE prokind WHEN 'a' THEN 'aggregate' ELSE pg_get_functiondef(p.oid) END,
                 'owner', pg_get_userbyid(proowner),
                 nullif((SELECT string_agg(x::text, ',' ORDER BY x::text) FROM unnest(proacl) x),
                        (SELECT string_agg(x::text, ',' ORDER BY x::text) FROM unnest(acldefault('f', proowner)) x)))
FROM pg_proc p JOIN schemas n ON n.oid = pronamespace
WHERE ('pg_proc'::regclass, p.oid) NOT IN (TABLE extension_members)
UNION ALL
SELECT 'type', format('%I.%I', nspname, typname),
       concat_ws(' ', typtype::text, CASE WHEN typbasetype <> 0 THEN format_type(typbasetype, typtypmod) END,
                 (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid),
                 (SELECT string_agg(pg_get_constraintdef(oid), ',' ORDER BY conname) FROM pg_constraint
                  WHERE contypid = t.oid))
FROM pg_type t JOIN schemas n ON n.oid = typnamespace
WHERE typtype IN ('e', 'd', 'r') AND ('pg_type'::regclass, t.oid) NOT IN (TABLE extension_members)
UNION ALL
SELECT 'event trigger', quote_ident(evtname), concat_ws(' ', evtevent, evtfoid::regproc::text, evtenabled::text)
FROM pg_event_trigger
UNION ALL
SELECT 'extension', quote_ident(extname), extversion FROM pg_extension
UNION ALL
SELECT 'schema', quote_ident(nspname),
       concat_ws(' ', 'owner', pg_get_userbyid(nspowner),
                 nullif((SELECT string_agg(x::text, ',' ORDER BY x::text) FROM unnest(nspacl) x),
                        (SELECT string_agg(x::text, ',' ORDER BY x::text) FROM unnest(acldefault('n', nspowner)) x)))
FROM schemas
UNION ALL
SELECT 'large object', m.oid::text,
       concat_ws(' ', pg_get_userbyid(lomowner),
                 (SELECT sum(hash_record_extended(row(pageno, data), 0)) FROM pg_largeobject WHERE loid = m.oid))
FROM pg_largeobject_metadata m
ORDER BY 1, 2

"""Physical backups: the WAL archive, base backups, and what they make possible: any earlier moment, and a history.

From what lies on disk to what people ask for. A package imports only those before it (tests/unit/test_architecture.py):

wal: positions, segments, timelines, pages and records.
archive: the folders of a cluster's archive, the archiver that fills them, and what is known of them.
bases: base backups taken, described and proven.
history: transactions read from the WAL, indexed, and told with their tables' names.
plans: from what somebody asks for to a plan, or to a refusal.
upkeep: sealing, retention, the audit, and the attendant that sees to them.
restores: a plan carried out beside, in place, as a branch, or table by table.
way_back: a mark before every change, a note of it in the journal, undo and redo.
"""

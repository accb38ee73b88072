"""The WAL archive of a cluster: its folders, the archiver that fills them, and what is known of them."""

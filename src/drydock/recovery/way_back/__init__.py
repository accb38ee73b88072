"""The way back from every change: a mark before it, a note in the journal, and undo and redo."""

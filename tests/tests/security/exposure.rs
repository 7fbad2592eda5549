//! What may be read by whom, and what lies open in files, rows and process lists.

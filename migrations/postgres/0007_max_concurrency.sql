-- The word of the API, also here.
ALTER TABLE command_sets RENAME COLUMN max_running TO max_concurrency;

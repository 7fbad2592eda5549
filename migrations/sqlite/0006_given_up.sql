-- Hosts of a set before this place in its order are not waited for any more: what has not started never will.
ALTER TABLE command_sets ADD COLUMN given_up_below BIGINT NOT NULL DEFAULT 0;
-- Of the failed ones: those that never started.
ALTER TABLE command_sets ADD COLUMN failed_unreachable BIGINT NOT NULL DEFAULT 0;

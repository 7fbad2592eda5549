-- The revision of the schedule when the run was recorded: what somebody else has saved since is not launched with the
-- rights of whom the run was recorded for. None in runs of before.
ALTER TABLE schedules_run ADD COLUMN revision BIGINT;

-- What a result says of its parts (each package, each step), as JSON.
ALTER TABLE commands ADD COLUMN details TEXT;

-- The newest version of each module that was loaded here. An older file is refused.
CREATE TABLE installed_modules (
    name      TEXT   NOT NULL PRIMARY KEY,
    version   TEXT   NOT NULL,
    sha256    TEXT   NOT NULL,
    loaded_at BIGINT NOT NULL
);

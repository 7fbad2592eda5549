-- How agents get in: enrolment tokens; and the blobs that operators upload for deploy_file.

CREATE TABLE enrollment_tokens (
    id            BLOB   NOT NULL PRIMARY KEY,
    secret_sha256 BLOB   NOT NULL UNIQUE,
    name          TEXT   NOT NULL,
    created_by    TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    uses_max      BIGINT NOT NULL CHECK (uses_max > 0),
    uses          BIGINT NOT NULL DEFAULT 0 CHECK (uses >= 0 AND uses <= uses_max),
    auto_approve  BIGINT NOT NULL,
    -- Given to every host that enrols with it.
    tags          TEXT   NOT NULL
);

-- The content is a file named by the digest.
CREATE TABLE blobs (
    sha256     BLOB   NOT NULL PRIMARY KEY,
    size_bytes BIGINT NOT NULL,
    created_by TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS im_user (
    user BIGINT UNSIGNED NOT NULL PRIMARY KEY,
    name VARCHAR(190) NOT NULL,
    display_name VARCHAR(1000) NOT NULL,
    password_hash VARCHAR(1000) NULL,
    -- 0 active, 1 disabled, 2 removed.
    state TINYINT UNSIGNED NOT NULL,
    `system` TINYINT UNSIGNED NOT NULL,
    created_at_ms BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- A table of its own, so that im_user can be partitioned by user.
CREATE TABLE IF NOT EXISTS im_user_name (
    name VARCHAR(190) NOT NULL PRIMARY KEY,
    user BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS im_invite (
    code_hash BINARY(32) NOT NULL PRIMARY KEY,
    created_at_ms BIGINT UNSIGNED NOT NULL,
    -- The user who consumed it, 0 while it is free.
    used_by BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- What the hot path changes of a device, and its live session (NULL: none).
CREATE TABLE IF NOT EXISTS im_device (
    user BIGINT UNSIGNED NOT NULL,
    device BIGINT UNSIGNED NOT NULL,
    outbox_position BIGINT UNSIGNED NOT NULL,
    inbox_position BIGINT UNSIGNED NOT NULL,
    seen_at_ms BIGINT UNSIGNED NOT NULL,
    -- Of the last 64 commands, oldest first, 8 bytes each, big-endian.
    digests VARBINARY(512) NOT NULL,
    session BIGINT UNSIGNED NULL,
    session_over TINYINT UNSIGNED NOT NULL,
    PRIMARY KEY (user, device),
    KEY device (device)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The rest of a device.
CREATE TABLE IF NOT EXISTS im_device_session (
    user BIGINT UNSIGNED NOT NULL,
    device BIGINT UNSIGNED NOT NULL,
    name VARCHAR(1000) NOT NULL,
    token_hash BINARY(32) NOT NULL,
    created_at_ms BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (user, device)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS im_token (
    token_hash BINARY(32) NOT NULL PRIMARY KEY,
    user BIGINT UNSIGNED NOT NULL,
    device BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS im_relation (
    relation BIGINT UNSIGNED NOT NULL PRIMARY KEY,
    low BIGINT UNSIGNED NOT NULL,
    high BIGINT UNSIGNED NOT NULL,
    friends TINYINT UNSIGNED NOT NULL,
    low_asks TINYINT UNSIGNED NOT NULL,
    high_asks TINYINT UNSIGNED NOT NULL,
    low_blocks TINYINT UNSIGNED NOT NULL,
    high_blocks TINYINT UNSIGNED NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Versions 1, 2, 3 … of a relation's key, each wrapped by the master key.
CREATE TABLE IF NOT EXISTS im_relation_key (
    relation BIGINT UNSIGNED NOT NULL,
    version INT UNSIGNED NOT NULL,
    wrapped_key VARBINARY(1000) NOT NULL,
    PRIMARY KEY (relation, version)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Each relation from both ends; seen is the wire's number of the state that the user sees.
CREATE TABLE IF NOT EXISTS im_relation_peer (
    user BIGINT UNSIGNED NOT NULL,
    peer BIGINT UNSIGNED NOT NULL,
    relation BIGINT UNSIGNED NOT NULL,
    seen TINYINT UNSIGNED NOT NULL,
    PRIMARY KEY (user, peer)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS im_conversation (
    conversation BIGINT UNSIGNED NOT NULL PRIMARY KEY,
    -- 1: between two users.
    kind TINYINT UNSIGNED NOT NULL,
    is_open TINYINT UNSIGNED NOT NULL,
    key_version INT UNSIGNED NOT NULL,
    head BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS im_member (
    conversation BIGINT UNSIGNED NOT NULL,
    user BIGINT UNSIGNED NOT NULL,
    delivered_seq BIGINT UNSIGNED NOT NULL,
    read_seq BIGINT UNSIGNED NOT NULL,
    joined_at_seq BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (conversation, user)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The conversations of a user.
CREATE TABLE IF NOT EXISTS im_member_user (
    user BIGINT UNSIGNED NOT NULL,
    conversation BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (user, conversation)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS im_message (
    conversation BIGINT UNSIGNED NOT NULL,
    conv_seq BIGINT UNSIGNED NOT NULL,
    sender BIGINT UNSIGNED NOT NULL,
    created_at_ms BIGINT UNSIGNED NOT NULL,
    -- An encoded anser.v1.Entry, the same bytes as in the inboxes.
    entry MEDIUMBLOB NOT NULL,
    PRIMARY KEY (conversation, conv_seq)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- One row for each user, which is what is locked to append to their inbox.
CREATE TABLE IF NOT EXISTS im_inbox_head (
    user BIGINT UNSIGNED NOT NULL PRIMARY KEY,
    head BIGINT UNSIGNED NOT NULL,
    floor BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS im_inbox (
    user BIGINT UNSIGNED NOT NULL,
    seq BIGINT UNSIGNED NOT NULL,
    entry MEDIUMBLOB NOT NULL,
    PRIMARY KEY (user, seq)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS im_once (
    once_key BINARY(32) NOT NULL PRIMARY KEY,
    used_at_ms BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Files that were uploaded; their bytes are elsewhere. 0 incomplete, 1 complete, 2 named by a
-- message, 3 ended.
CREATE TABLE IF NOT EXISTS im_file (
    file BIGINT UNSIGNED NOT NULL PRIMARY KEY,
    owner BIGINT UNSIGNED NOT NULL,
    conversation BIGINT UNSIGNED NOT NULL,
    size BIGINT UNSIGNED NOT NULL,
    state TINYINT UNSIGNED NOT NULL,
    created_at_ms BIGINT UNSIGNED NOT NULL,
    updated_at_ms BIGINT UNSIGNED NOT NULL,
    KEY owner (owner),
    KEY due (state, updated_at_ms)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS im_meta (
    name VARCHAR(190) NOT NULL PRIMARY KEY,
    value VARBINARY(1000) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin

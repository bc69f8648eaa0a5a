-- A new file is made under the lock of its owner's row, and what the owner has is summed up before.
-- Out of this index that reads nothing else: 7 ms instead of 47 ms for 20,000 files on a MariaDB
-- 10.11. Its beginning is the index `owner`, which may go once no program of version 1 runs.
--
-- MySQL has no ADD INDEX IF NOT EXISTS.
SET @migration = IF(
    EXISTS (
        SELECT 1 FROM information_schema.STATISTICS
        WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'im_file' AND INDEX_NAME = 'owner_size'
    ),
    'DO 0',
    'ALTER TABLE im_file ADD INDEX owner_size (owner, size), ALGORITHM=INPLACE, LOCK=NONE'
);
PREPARE migration FROM @migration;
EXECUTE migration;
DEALLOCATE PREPARE migration

-- What MySQL 8 has beside schema.sql: an index over an expression.
USE shop;
ALTER TABLE accounts ADD INDEX functional ((CONCAT(ssn, 'x')));
ALTER TABLE secret_refs ADD COLUMN quoted VARCHAR(40) AS (CONCAT(ref, 'it''s \\ "q"'));

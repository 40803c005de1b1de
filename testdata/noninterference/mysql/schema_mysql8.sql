-- What MySQL 8 has beside schema.sql: an index over an expression.
USE shop;
ALTER TABLE accounts ADD INDEX functional ((CONCAT(ssn, 'x')));
ALTER TABLE secret_refs ADD COLUMN quoted VARCHAR(40) AS (CONCAT(ref, 'it''s \\ "q"'));
-- A column that is computed when it is read, and fails then for some values:
-- adding one looks at none of the rows.
CREATE TABLE brittle (id INT NOT NULL PRIMARY KEY, ssn VARCHAR(20));
INSERT INTO brittle (id, ssn) SELECT id, ssn FROM accounts;
ALTER TABLE brittle ADD COLUMN parsed JSON AS (JSON_EXTRACT(IF(ssn LIKE '1%', 'x', '1'), '$')) VIRTUAL;

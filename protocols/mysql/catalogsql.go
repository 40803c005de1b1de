package mysql

import "fmt"

// The queries by which the schema is read, each over one table of
// information_schema. They are on the closed list of docs/upstream.md.
// MySQL 8.0, MariaDB 10.3 and newer.

const readerSQL = "SET SESSION sql_mode = '', SESSION group_concat_max_len = 1048576"

// versionSQL changes with whatever the other queries would tell. Neither
// server has a number that grows with each change, so that the fingerprint is
// one of the rows themselves.
func versionSQL(dialect, version string) []string {
	return append(fingerprints, fmt.Sprintf(`SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS(0x1f, TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, NON_UNIQUE, SEQ_IN_INDEX, COLUMN_NAME, SUB_PART, %s))), 0) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema')`,
		keyPart(dialect, version)))
}

// keyPart is the column of information_schema.STATISTICS that has the
// expression of a functional key part, which MySQL has since 8.0.13.
func keyPart(dialect, version string) string {
	var patch int
	if old, _ := fmt.Sscanf(version, "8.0.%d", &patch); dialect == "mariadb" || old == 1 && patch < 13 {
		return "NULL"
	}
	return "EXPRESSION"
}

var fingerprints = []string{
	`SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS(0x1f, TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, CREATE_TIME))), 0) FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema')`,
	`SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS(0x1f, TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, COLLATION_NAME, EXTRA, GENERATION_EXPRESSION))), 0) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema')`,
	`SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS(0x1f, TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION, SECURITY_TYPE))), 0) FROM information_schema.VIEWS`,
	`SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS(0x1f, CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_NAME, UPDATE_RULE, DELETE_RULE))), 0) FROM information_schema.REFERENTIAL_CONSTRAINTS`,
	`SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS(0x1f, ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE, ROUTINE_DEFINITION, SECURITY_TYPE, SQL_MODE, LAST_ALTERED))), 0) FROM information_schema.ROUTINES`,
	`SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS(0x1f, TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_OBJECT_TABLE, EVENT_MANIPULATION, ACTION_STATEMENT))), 0) FROM information_schema.TRIGGERS`,
	`SELECT COUNT(*), COALESCE(SUM(CRC32(SCHEMA_NAME)), 0) FROM information_schema.SCHEMATA`,
}

const (
	databasesSQL = `SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY 1`

	tablesSQL = `SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES ORDER BY 1, 2`

	columnsSQL = `SELECT TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, GENERATION_EXPRESSION, COLLATION_NAME, EXTRA
		FROM information_schema.COLUMNS ORDER BY 1, 2, 3`

	partitionsSQL = `SELECT DISTINCT TABLE_SCHEMA, TABLE_NAME, PARTITION_METHOD, PARTITION_EXPRESSION, SUBPARTITION_EXPRESSION FROM information_schema.PARTITIONS
		WHERE PARTITION_METHOD IS NOT NULL ORDER BY 1, 2`

	viewsSQL = `SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION FROM information_schema.VIEWS ORDER BY 1, 2`

	constraintsSQL = `SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.CONSTRAINT_NAME, t.CONSTRAINT_TYPE, k.COLUMN_NAME
		FROM information_schema.TABLE_CONSTRAINTS t JOIN information_schema.KEY_COLUMN_USAGE k
			ON k.CONSTRAINT_SCHEMA = t.CONSTRAINT_SCHEMA AND k.TABLE_SCHEMA = t.TABLE_SCHEMA AND k.TABLE_NAME = t.TABLE_NAME AND k.CONSTRAINT_NAME = t.CONSTRAINT_NAME
		WHERE t.CONSTRAINT_TYPE IN ('PRIMARY KEY', 'UNIQUE') ORDER BY 1, 2, 3, k.ORDINAL_POSITION`

	foreignSQL = `SELECT k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME, k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME, r.UPDATE_RULE, r.DELETE_RULE
		FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r
			ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME
		WHERE k.REFERENCED_TABLE_NAME IS NOT NULL ORDER BY 1, 2, 3, k.ORDINAL_POSITION`

	routinesSQL = `SELECT ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE, DATA_TYPE, ROUTINE_DEFINITION, IS_DETERMINISTIC, SQL_MODE, SECURITY_TYPE FROM information_schema.ROUTINES ORDER BY 1, 2, 3`

	parametersSQL = `SELECT SPECIFIC_SCHEMA, SPECIFIC_NAME, ROUTINE_TYPE, DATA_TYPE, PARAMETER_MODE, PARAMETER_NAME FROM information_schema.PARAMETERS
		WHERE ORDINAL_POSITION > 0 ORDER BY 1, 2, 3, ORDINAL_POSITION`

	triggersSQL = `SELECT TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_MANIPULATION, EVENT_OBJECT_TABLE, ACTION_STATEMENT, SQL_MODE FROM information_schema.TRIGGERS ORDER BY 1, 2`

	loadableSQL = `SELECT name, type FROM mysql.func ORDER BY 1`
)

func indexesSQL(dialect, version string) string {
	return fmt.Sprintf(`SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART, %s FROM information_schema.STATISTICS
		WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema') ORDER BY 1, 2, 3, SEQ_IN_INDEX`, keyPart(dialect, version))
}

// checksSQL: MySQL's table of checks does not name the table that each is of.
func checksSQL(dialect string) string {
	if dialect == "mariadb" {
		return `SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS ORDER BY 1, 2, 3`
	}
	return `SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.CONSTRAINT_NAME, c.CHECK_CLAUSE FROM information_schema.TABLE_CONSTRAINTS t
		JOIN information_schema.CHECK_CONSTRAINTS c ON c.CONSTRAINT_SCHEMA = t.CONSTRAINT_SCHEMA AND c.CONSTRAINT_NAME = t.CONSTRAINT_NAME
		WHERE t.CONSTRAINT_TYPE = 'CHECK' ORDER BY 1, 2, 3`
}

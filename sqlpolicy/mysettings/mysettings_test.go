package mysettings

import "testing"

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name, value string
		ok          bool
	}{
		{"names", "utf8mb4", true}, {"NAMES", "gbk", false}, {"character_set_client", "sjis", false}, {"character_set_results", "", true},
		{"character_set_client", "latin1", true}, {"character_set_client", "?", false}, {"collation_connection", "utf8mb4_general_ci", true},
		{"collation_connection", "big5_bin", false}, {"character_set_client", "default", true},
		{"sql_mode", "ANSI_QUOTES,STRICT_TRANS_TABLES", true}, {"sql_mode", "ORACLE", false}, {"sql_mode", "ansi, mssql", false}, {"sql_mode", "?", true},
		{"max_statement_time", "0", true}, {"max_statement_time", "0.01", false}, {"max_statement_time", "2", true}, {"max_statement_time", "?", false},
		{"max_execution_time", "50", false}, {"max_execution_time", "5000", true},
		{"max_join_size", "10", false}, {"max_sort_length", "64", false}, {"sql_auto_is_null", "1", false}, {"sql_auto_is_null", "0", true}, {"session_track_schema", "off", false},
		{"autocommit", "0", true}, {"sql_safe_updates", "1", true}, {"sql_select_limit", "10", true}, {"time_zone", "+00:00", true},
	} {
		if p := Check(c.name, c.value); (p == nil) != c.ok {
			t.Errorf("%s=%s: %v, want ok %v", c.name, c.value, p, c.ok)
		}
	}
}

package pgsettings

import "testing"

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name, value string
		passes      bool
	}{
		{"client_encoding", "UTF8", true}, {"client_encoding", "'utf-8'", true}, {"client_encoding", "LATIN1", false}, {"NAMES", "sjis", false},
		{"standard_conforming_strings", "on", true}, {"Standard_Conforming_Strings", "off", false}, {"standard_conforming_strings", "?", false},
		{"client_min_messages", "warning", true}, {"client_min_messages", "debug1", false}, {"client_min_messages", "?", false},
		{"statement_timeout", "0", true}, {"statement_timeout", "30s", true}, {"statement_timeout", "250", true}, {"statement_timeout", "'2 min'", true},
		{"statement_timeout", "DEFAULT", true}, {"statement_timeout", "5", false}, {"statement_timeout", "0.01s", false}, {"statement_timeout", "900us", false},
		{"statement_timeout", "1e1", false}, {"statement_timeout", "0x10", false}, {"statement_timeout", "?", false}, {"lock_timeout", "1ms", false},
		{"transaction_timeout", "10min", true}, {"transform_null_equals", "on", false}, {"session_replication_role", "replica", false},
		{"work_mem", "1MB", true}, {"search_path", "app", true}, {"my.own", "x", true}, {"max_stack_depth", "100kB", false},
	} {
		if got := Check(c.name, c.value); (got == nil) != c.passes {
			t.Errorf("%s = %s: %v", c.name, c.value, got)
		}
	}
}

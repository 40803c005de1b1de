// Package mysettings says which of MySQL's and MariaDB's settings a client may
// not change through the proxy: those under which a text means something else
// to the server than to the parser, those that make the server print or keep
// values, and those whose limits tell of values.
package mysettings

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// leastTimeout, in seconds, is the shortest time after which a client may have
// its statements stopped: what is stopped, and what is not, tells how long a
// statement took over values.
const leastTimeout = 0.1

// Check returns why a setting may not have a value, nil where it may. A value
// that is not known is "?", the default of a setting "default".
func Check(name, value string) *facts.Problem {
	name = strings.ToLower(name)
	v := strings.ToLower(strings.TrimSpace(value))
	refuse := func(why, hint string) *facts.Problem {
		return &facts.Problem{Code: "0A000", At: -1, Message: fmt.Sprintf("%s does not pass the proxy with this value", name), Detail: why, Hint: hint}
	}
	const leave = "Leave the setting at its default."
	switch name {
	case "character_set_client", "character_set_connection", "character_set_results", "names", "collation_connection", "character_set_database",
		"collation_database", "charset":
		if v != "default" && !charset(v) && !(name == "character_set_results" && (v == "" || v == "null")) {
			return refuse("Texts and values are read as UTF-8.", "Use utf8mb4; drivers convert on their side.")
		}
	case "sql_mode":
		for word := range strings.SplitSeq(strings.ToUpper(value), ",") {
			switch strings.TrimSpace(word) {
			case "ORACLE", "MSSQL", "DB2", "MAXDB", "POSTGRESQL", "EMPTY_STRING_IS_NULL", "SIMULTANEOUS_ASSIGNMENT", "MYSQL323", "MYSQL40":
				return refuse("It changes what statements mean.", "Leave it out of sql_mode.")
			}
		}
	case "max_statement_time", "max_execution_time":
		least := leastTimeout
		if name == "max_execution_time" {
			least *= 1000 // milliseconds
		}
		if d, err := strconv.ParseFloat(v, 64); v != "default" && (err != nil || d < 0 || d > 0 && d < least) {
			return refuse("What a statement has not done in so short a time tells of the values it met.",
				fmt.Sprintf("Set it to %g or more, or to 0 for none.", least))
		}
	case "max_join_size", "sql_max_join_size", "sql_big_selects", "max_session_mem_used", "max_rowid_filter_size", "tmp_disk_table_size",
		"max_tmp_session_space_usage", "max_allowed_packet", "net_buffer_length", "max_length_for_sort_data":
		return refuse("Whether a statement fits it depends on the values it meets.", leave)
	case "max_sort_length":
		return refuse("What it cuts is compared by its beginning.", leave)
	case "sql_auto_is_null":
		if v != "0" && v != "off" && v != "false" && v != "default" {
			return refuse("It changes what statements mean.", leave)
		}
	case "old_mode", "debug", "debug_dbug", "debug_sync", "pseudo_slave_mode", "pseudo_thread_id", "pseudo_replica_mode", "proxy_user", "external_user",
		"standard_compliant_cte", "system_versioning_asof", "system_versioning_alter_history", "show_create_table_skip_secondary_engine", "init_connect",
		"require_row_format", "redirect_url", "sql_log_bin", "binlog_format", "gtid_domain_id", "gtid_next", "server_id":
		return refuse("It changes what statements mean, or what is kept of them.", leave)
	}
	// What is to be tracked is added to: the proxy asks for its own again.
	on := name == "session_track_schema" && (v == "on" || v == "1" || v == "true")
	if strings.HasPrefix(name, "session_track_") && name != "session_track_system_variables" && !on {
		return refuse("The proxy follows the session by it.", leave)
	}
	return nil
}

// charset says that a character set, or the set of a collation, reads each
// ASCII byte as itself whatever stands before it.
func charset(v string) bool {
	set, _, _ := strings.Cut(v, "_")
	switch set {
	case "utf8mb4", "utf8mb3", "utf8", "ascii", "latin1", "latin2", "latin5", "latin7", "cp850", "cp852", "cp866", "cp1250", "cp1251", "cp1256", "cp1257",
		"koi8r", "koi8u", "greek", "hebrew", "macce", "macroman", "binary", "uca1400":
		return true
	}
	return false
}

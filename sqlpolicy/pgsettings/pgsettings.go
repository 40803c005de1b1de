// Package pgsettings says which of PostgreSQL's settings a client may not
// change through the proxy: those under which a text means something else to
// the server than to the parser, those that make the server print values, and
// those whose limits tell of values. SET, set_config, ALTER ROLE and ALTER
// DATABASE, and the start-up packet are all checked by it.
package pgsettings

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// leastTimeout is the shortest time after which a client may have its
// statements stopped: what is stopped, and what is not, tells how long a
// statement took over values.
const leastTimeout = 100 * time.Millisecond

// Check returns why a setting may not have a value, nil where it may. A value
// that is not known is "?".
func Check(name, value string) *facts.Problem {
	name = strings.ToLower(name)
	v := strings.ToLower(strings.Trim(strings.TrimSpace(value), `'"`))
	refuse := func(why, hint string) *facts.Problem {
		return &facts.Problem{Code: "0A000", At: -1, Message: fmt.Sprintf("%s does not pass the proxy with this value", name), Detail: why, Hint: hint}
	}
	const leave = "Leave the setting at its default."
	switch name {
	case "client_encoding", "names":
		if v != "utf8" && v != "utf-8" && v != "unicode" {
			return refuse("Texts and values are read as UTF-8.", "Set client_encoding=UTF8; drivers convert on their side.")
		}
	case "standard_conforming_strings":
		if v != "on" && v != "true" && v != "1" && v != "yes" {
			return refuse("Texts are parsed with it on.", "Write escapes as E'…'.")
		}
	case "client_min_messages":
		if strings.HasPrefix(v, "debug") || v == "log" || v == "info" || v == "?" {
			return refuse("Messages of that level print values.", "Set it to notice or above.")
		}
	case "statement_timeout", "transaction_timeout", "lock_timeout":
		if d, ok := duration(v); !ok || d > 0 && d < leastTimeout {
			return refuse("What a statement has not done in so short a time tells of the values it met.", fmt.Sprintf("Set it to %s or more, or to 0 for none.", leastTimeout))
		}
	case "temp_file_limit", "max_stack_depth":
		return refuse("Whether a statement fits it depends on the values it meets.", leave)
	case "session_replication_role", "transform_null_equals", "backslash_quote", "quote_all_identifiers", "event_triggers", "exit_on_error",
		"restrict_nonsystem_relation_kind":
		return refuse("It changes what statements mean.", leave)
	}
	return nil
}

// ChoosesPlans says that a setting decides how the server plans statements: by
// sorting or hashing, by which index, in which order of joins. Who may choose
// that chooses the order in which rows come where a statement leaves it open,
// and an order by values tells of them.
//
// Source: the groups "Query Tuning" and "Resource Usage / Memory" of
// postgres/src/backend/utils/misc/guc_tables.c.
func ChoosesPlans(name string) bool {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, "enable_") || strings.HasPrefix(name, "geqo") || strings.HasPrefix(name, "jit") ||
		strings.HasSuffix(name, "_cost") || strings.HasSuffix(name, "_collapse_limit") || strings.HasPrefix(name, "min_parallel_") {
		return true
	}
	switch name {
	case "work_mem", "hash_mem_multiplier", "effective_cache_size", "cursor_tuple_fraction", "constraint_exclusion", "plan_cache_mode",
		"default_statistics_target", "effective_io_concurrency", "max_parallel_workers", "max_parallel_workers_per_gather",
		"parallel_leader_participation", "debug_parallel_query", "force_parallel_mode", "recursive_worktable_factor", "stats_fetch_consistency":
		return true
	}
	return false
}

// duration reads a time setting: a number, of milliseconds unless it has a
// unit.
//
// Source: time_unit_conversion_table in postgres/src/backend/utils/misc/guc.c.
func duration(v string) (time.Duration, bool) {
	if v == "default" {
		return 0, true
	}
	n := strings.IndexFunc(v, func(r rune) bool { return !strings.ContainsRune("0123456789.-+", r) })
	if n < 0 {
		n = len(v)
	}
	number, err := strconv.ParseFloat(v[:n], 64)
	unit, ok := map[string]time.Duration{"": time.Millisecond, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "min": time.Minute,
		"h": time.Hour, "d": 24 * time.Hour}[strings.TrimSpace(v[n:])]
	if err != nil || !ok || number > 1e10 {
		return 0, false
	}
	return time.Duration(number * float64(unit)), true
}

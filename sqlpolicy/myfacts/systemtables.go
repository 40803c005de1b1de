package myfacts

import (
	"path"
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// telling are the server's own tables whose number of rows tells of values or
// of a plan that went by them: what is locked, cached, indexed as words, and
// which indexes or stages a statement came by.
var telling = map[string][]string{
	"information_schema": {"innodb_buffer_page*", "innodb_ft_*", "innodb_cached_indexes", "innodb_locks", "innodb_lock_waits", "innodb_mutexes",
		"innodb_sys_semaphore_waits", "innodb_temp_table_info", "profiling", "table_statistics", "index_statistics", "query_cache_info"},
	"mysql":              {"slow_log"},
	"performance_schema": {"*"},
	"sys":                {"*"},
}

// fixed are those of them that have a row for each thing that the schema, the
// server's settings or its clients have.
var fixed = map[string][]string{
	"performance_schema": {"setup_*", "*_variables*", "variables_*", "*_status*", "status_by_*", "threads", "processlist", "accounts", "users", "hosts",
		"*_connect_attrs", "performance_timers", "user_defined_functions", "prepared_statements_instances"},
	"sys": {"version", "sys_config"},
}

// rowsTell records a comparison where a table's number of rows is one.
func (a *analysis) rowsTell(r *catalog.Relation, cols []column) {
	schema, name := strings.ToLower(r.Schema), strings.ToLower(r.Name)
	matches := func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	}
	if slices.ContainsFunc(telling[schema], matches) && !slices.ContainsFunc(fixed[schema], matches) && len(cols) > 0 {
		a.compared(nowhere, "the number of rows of "+schema+"."+name, cols[0].value)
	}
}

package facts

// StatisticsColumns are patterns of system columns that tell about values in
// user tables: samples of them, how many there are, how long they are, the
// text of other sessions' statements; and what passwords are checked by. They belong to the reserved class
// "statistics". Patterns are as in a policy's columns (schema.table.column).
//
// What PostgreSQL's functions tell of sizes and counters is given out as a
// value of pg_catalog.pg_class.relpages.
func StatisticsColumns() []string {
	return []string{
		"pg_catalog.pg_stats.null_frac", "pg_catalog.pg_stats.avg_width", "pg_catalog.pg_stats.n_distinct",
		"pg_catalog.pg_stats.most_common*", "pg_catalog.pg_stats.histogram_bounds", "pg_catalog.pg_stats.correlation",
		"pg_catalog.pg_stats.elem_count_histogram", "pg_catalog.pg_stats.range_*",
		"pg_catalog.pg_statistic.sta*",
		"pg_catalog.pg_stats_ext.n_distinct", "pg_catalog.pg_stats_ext.dependencies", "pg_catalog.pg_stats_ext.most_common*",
		"pg_catalog.pg_stats_ext_exprs.null_frac", "pg_catalog.pg_stats_ext_exprs.avg_width", "pg_catalog.pg_stats_ext_exprs.n_distinct",
		"pg_catalog.pg_stats_ext_exprs.most_common*", "pg_catalog.pg_stats_ext_exprs.histogram_bounds",
		"pg_catalog.pg_stats_ext_exprs.correlation", "pg_catalog.pg_stats_ext_exprs.elem_count_histogram",
		"pg_catalog.pg_stats_ext_exprs.range_*",
		"pg_catalog.pg_statistic_ext_data.stxd*",
		"pg_catalog.pg_class.relpages", "pg_catalog.pg_class.relallvisible", "pg_catalog.pg_class.relallfrozen",
		"pg_catalog.pg_stat_activity.query", "pg_catalog.pg_stat_activity.query_id",
		"*.pg_stat_statements.*", "*.pg_stat_statements_info.*",
		"pg_catalog.pg_statio_*.*blks*",
		"pg_catalog.pg_stat_*_tables.n_*", "pg_catalog.pg_stat_*_tables.seq_*", "pg_catalog.pg_stat_*_tables.idx_*",
		"pg_catalog.pg_stat_*_indexes.idx_*",
		"pg_catalog.pg_stat_xact_*_tables.*tup*", "pg_catalog.pg_stat_xact_*_tables.*scan*",
		"pg_catalog.pg_stat_user_functions.*_time",
		"pg_catalog.pg_stat_database.*blk*", "pg_catalog.pg_stat_database.tup_*", "pg_catalog.pg_stat_database.temp_*",
		"pg_catalog.pg_stat_wal.*", "pg_catalog.pg_stat_io.*", "pg_catalog.pg_stat_bgwriter.*", "pg_catalog.pg_stat_checkpointer.*",
		"pg_catalog.pg_stat_slru.*", "pg_catalog.pg_stat_progress_*.*_blks_*", "pg_catalog.pg_stat_progress_*.*bytes*",
		"pg_catalog.pg_stat_progress_*.*blocks*", "pg_catalog.pg_stat_progress_*.*tuples*",
		"pg_catalog.pg_stat_replication.*_lsn", "pg_catalog.pg_stat_wal_receiver.*_lsn", "pg_catalog.pg_stat_subscription.*_lsn",
		"pg_catalog.pg_stat_replication_slots.*", "pg_catalog.pg_replication_slots.*_lsn", "pg_catalog.pg_replication_slots.safe_wal_size",
		"pg_catalog.pg_backend_memory_contexts.*", "pg_catalog.pg_shmem_allocations.*",
		"pg_catalog.pg_largeobject.data", "pg_catalog.pg_largeobject.pageno",

		// MySQL and MariaDB. DIAGNOSTICS is what SHOW WARNINGS reads.
		"information_schema.DIAGNOSTICS.*",
		"information_schema.TABLES.TABLE_ROWS", "information_schema.TABLES.AVG_ROW_LENGTH", "information_schema.TABLES.*DATA_LENGTH",
		"information_schema.TABLES.*INDEX_LENGTH", "information_schema.TABLES.DATA_FREE", "information_schema.TABLES.CHECKSUM",
		"information_schema.TABLES.UPDATE_TIME",
		"information_schema.PARTITIONS.TABLE_ROWS", "information_schema.PARTITIONS.AVG_ROW_LENGTH", "information_schema.PARTITIONS.*DATA_LENGTH",
		"information_schema.PARTITIONS.*INDEX_LENGTH", "information_schema.PARTITIONS.DATA_FREE", "information_schema.PARTITIONS.CHECKSUM",
		"information_schema.PARTITIONS.UPDATE_TIME",
		"information_schema.STATISTICS.CARDINALITY",
		"information_schema.PROCESSLIST.INFO*", "information_schema.PROCESSLIST.EXAMINED_ROWS", "information_schema.PROCESSLIST.*MEMORY*",
		"information_schema.PROCESSLIST.PROGRESS", "information_schema.PROCESSLIST.*STAGE",
		"information_schema.*_STATUS.VARIABLE_VALUE", "information_schema.*_STATISTICS.*", "information_schema.USER_VARIABLES.VARIABLE_VALUE",
		"information_schema.PROFILING.*", "information_schema.OPTIMIZER_TRACE.*", "information_schema.INNODB_*.*", "information_schema.XTRADB_*.*",
		"information_schema.FILES.*", "information_schema.TABLESPACES.*", "information_schema.KEY_CACHES.*", "information_schema.QUERY_*.*",
		"mysql.innodb_*_stats.*", "mysql.table_stats.*", "mysql.column_stats.*", "mysql.index_stats.*", "mysql.general_log.*", "mysql.slow_log.*",
		"mysql.transaction_registry.*",
		// What passwords are checked by, and passwords of other servers.
		"mysql.user.Password", "mysql.user.authentication_string", "mysql.global_priv.Priv", "mysql.password_history.Password", "mysql.servers.Password",
		"pg_catalog.pg_authid.rolpassword", "pg_catalog.pg_shadow.passwd", "pg_catalog.pg_user_mapping.umoptions", "pg_catalog.pg_user_mappings.umoptions",
		"pg_catalog.pg_subscription.subconninfo",
		"performance_schema.*.*", "sys.*.*",
	}
}

package pgfacts

import (
	"slices"
	"strings"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// A function is safe to call with values that hide nothing if it reads no
// user data and runs no other function's code: what pg_catalog declares
// immutable, what is listed here, and C functions of extensions that are
// known. Whatever else is called counts as code that cannot be read.
//
// Not listed, on purpose: functions that run SQL given as text (query_to_xml
// and its kin, ts_stat, ts_rewrite, dblink, crosstab), that read or write
// files or large objects, that read what other sessions wrote (logical
// slots), that act on other sessions, and input functions that can run a
// domain's checks (domain_in, array_in, record_in, range_in, pg_input_*).
var safeFunctions = wordSet(`
	now clock_timestamp statement_timestamp transaction_timestamp timeofday age date date_part date_trunc date_bin extract
	timezone time timetz timestamp timestamptz timestamptz_pl_interval timestamptz_mi_interval interval_pl_timestamptz
	timestamptz_mi make_timestamptz to_char to_date to_timestamp to_number overlaps generate_series in_range date_add date_subtract
	date_cmp_timestamptz date_eq_timestamptz date_ge_timestamptz date_gt_timestamptz date_le_timestamptz date_lt_timestamptz date_ne_timestamptz
	timestamp_cmp_timestamptz timestamp_eq_timestamptz timestamp_ge_timestamptz timestamp_gt_timestamptz timestamp_le_timestamptz
	timestamp_lt_timestamptz timestamp_ne_timestamptz timestamptz_cmp_date timestamptz_eq_date timestamptz_ge_date timestamptz_gt_date
	timestamptz_le_date timestamptz_lt_date timestamptz_ne_date timestamptz_cmp_timestamp timestamptz_eq_timestamp
	timestamptz_ge_timestamp timestamptz_gt_timestamp timestamptz_le_timestamp timestamptz_lt_timestamp timestamptz_ne_timestamp

	concat concat_ws format quote_literal quote_nullable textanycat anytextcat length convert convert_from convert_to
	array_to_string array_to_json row_to_json to_json to_jsonb json_agg jsonb_agg json_agg_strict jsonb_agg_strict
	json_object_agg jsonb_object_agg json_object_agg_strict jsonb_object_agg_strict json_object_agg_unique jsonb_object_agg_unique
	json_object_agg_unique_strict jsonb_object_agg_unique_strict
	json_build_array json_build_object jsonb_build_array jsonb_build_object
	json_populate_record json_populate_recordset json_to_record json_to_recordset jsonb_populate_record jsonb_populate_recordset
	jsonb_to_record jsonb_to_recordset jsonb_path_exists_tz jsonb_path_match_tz jsonb_path_query_array_tz jsonb_path_query_first_tz
	jsonb_path_query_tz enum_first enum_last enum_range money numeric xml xml_is_well_formed
	to_tsvector to_tsquery plainto_tsquery phraseto_tsquery websearch_to_tsquery ts_headline ts_match_tt ts_match_tq json_to_tsvector
	jsonb_to_tsvector ts_parse ts_token_type ts_debug ts_lexize get_current_ts_config

	random random_normal setseed gen_random_uuid uuidv4 uuidv7 nextval currval lastval setval pg_sequence_last_value pg_sequence_parameters
	pg_get_sequence_data pg_get_serial_sequence current_setting set_config current_database current_catalog current_schema current_schemas
	current_user session_user getpgusername user current_query version pg_typeof pg_client_encoding getdatabaseencoding
	pg_char_to_encoding pg_encoding_to_char pg_collation_for pg_backend_pid pg_trigger_depth pg_my_temp_schema pg_is_other_temp_schema
	inet_client_addr inet_client_port inet_server_addr inet_server_port pg_postmaster_start_time pg_conf_load_time
	pg_is_in_recovery pg_is_wal_replay_paused pg_last_xact_replay_timestamp pg_jit_available pg_listening_channels
	pg_notification_queue_usage pg_notify pg_sleep pg_sleep_for pg_sleep_until pg_export_snapshot
	txid_current txid_current_if_assigned txid_current_snapshot txid_status pg_current_xact_id pg_current_xact_id_if_assigned
	pg_current_snapshot pg_xact_status pg_xact_commit_timestamp pg_last_committed_xact mxid_age pg_blocking_pids pg_safe_snapshot_blocking_pids
	pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all pg_advisory_unlock_shared
	pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared
	pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared

	has_any_column_privilege has_column_privilege has_database_privilege has_foreign_data_wrapper_privilege has_function_privilege
	has_language_privilege has_largeobject_privilege has_parameter_privilege has_schema_privilege has_sequence_privilege
	has_server_privilege has_table_privilege has_tablespace_privilege has_type_privilege pg_has_role row_security_active
	aclexplode acldefault makeaclitem
	format_type oidvectortypes obj_description col_description shobj_description pg_describe_object pg_identify_object
	pg_identify_object_as_address pg_get_object_address pg_get_acl pg_get_userbyid pg_get_constraintdef pg_get_expr pg_get_indexdef
	pg_get_functiondef pg_get_function_arguments pg_get_function_identity_arguments pg_get_function_result pg_get_function_sqlbody
	pg_get_function_arg_default pg_get_triggerdef pg_get_ruledef pg_get_viewdef pg_get_partkeydef pg_get_partition_constraintdef
	pg_get_statisticsobjdef pg_get_statisticsobjdef_columns pg_get_statisticsobjdef_expressions pg_get_replica_identity_index
	pg_get_keywords pg_get_catalog_foreign_keys pg_get_publication_tables pg_get_wal_resource_managers pg_get_multixact_members
	pg_options_to_table pg_tablespace_location pg_tablespace_databases pg_relation_filenode pg_relation_filepath pg_filenode_relation
	pg_relation_is_publishable pg_relation_is_updatable pg_column_is_updatable pg_partition_tree pg_partition_ancestors
	pg_index_column_has_property pg_index_has_property pg_indexam_has_property pg_collation_actual_version
	pg_database_collation_actual_version pg_available_extensions pg_available_extension_versions pg_extension_update_paths
	pg_timezone_names pg_timezone_abbrevs pg_timezone_abbrevs_abbrevs pg_timezone_abbrevs_zone pg_show_all_settings pg_settings_get_flags
	pg_config pg_basetype pg_char_to_encoding
	pg_collation_is_visible pg_conversion_is_visible pg_function_is_visible pg_opclass_is_visible pg_operator_is_visible
	pg_opfamily_is_visible pg_statistics_obj_is_visible pg_table_is_visible pg_ts_config_is_visible pg_ts_dict_is_visible
	pg_ts_parser_is_visible pg_ts_template_is_visible pg_type_is_visible
	regclass to_regclass to_regcollation to_regnamespace to_regoper to_regoperator to_regproc to_regprocedure to_regrole to_regtype
	to_regtypemod
`)

// sizeFunctions tell how much room values take, or what the server counted
// while it worked on them. They yield a value of pg_class.relpages, which is
// of the reserved class statistics.
var sizeFunctions = wordSet(`
	pg_relation_size pg_table_size pg_total_relation_size pg_indexes_size pg_database_size pg_tablespace_size pg_column_size
	pg_column_compression pg_column_toast_chunk_id pg_current_wal_lsn pg_current_wal_flush_lsn pg_current_wal_insert_lsn
	pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_get_backend_memory_contexts pg_get_shmem_allocations pg_stat_have_stats
`)

// amplifiers are functions whose result can be longer than its arguments by
// any factor. Other functions of pg_catalog and of known extensions give
// back a few times the length of what they are given.
var amplifiers = wordSet(`
	repeat lpad rpad replace regexp_replace array_fill format array_to_string jsonb_pretty bit
`)

// amplifies says whether a call may yield a value of any length: literals
// for the count or the replacement bound it.
func amplifies(c callee, args []value) bool {
	if !amplifiers[c.name] {
		return false
	}
	switch c.name {
	case "repeat", "lpad", "rpad":
		return len(args) < 2 || !smallNumber(args[1])
	case "replace":
		return len(args) < 3 || !shortLiterals(args[2:])
	case "regexp_replace":
		return len(args) < 3 || !shortLiterals(args[2:3])
	case "array_to_string":
		return len(args) < 2 || !shortLiterals(args[1:])
	case "format":
		return len(args) < 1 || !plainFormat(args[0])
	}
	return true
}

// smallNumber says that a value is an integer literal of at most four digits.
func smallNumber(v value) bool { return v.text != nil && v.typ == typeInt4 && len(*v.text) <= 4 }

func wordSet(words string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(words) {
		out[w] = true
	}
	return out
}

// safe says whether calling c runs nothing but code that is known.
func (a *analysis) safe(c callee) bool {
	if c.schema == "pg_catalog" {
		if safeFunctions[c.name] || sizeFunctions[c.name] || strings.HasPrefix(c.name, "pg_stat_get_") {
			return true
		}
		return c.fn != nil && pureFunction(c.fn)
	}
	return c.fn != nil && pureFunction(c.fn)
}

// pureFunction says that a function reads nothing but its arguments.
func pureFunction(f *catalog.Function) bool {
	if f.Schema == "pg_catalog" {
		return f.Volatility == "i" && (f.Language == "internal" || f.Language == "sql")
	}
	return slices.Contains(pureExtensions, f.Extension) && (f.Language == "c" || f.Kind == "a")
}

// pureExtensions have C functions that compute on their arguments only.
// tablefunc, dblink, xml2 and lo are not among them.
var pureExtensions = []string{
	"vector", "pgcrypto", "uuid-ossp", "citext", "pg_trgm", "unaccent", "hstore", "ltree", "intarray", "btree_gin", "btree_gist",
	"fuzzystrmatch", "cube", "seg", "isn", "bloom",
}

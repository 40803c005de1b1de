-- One JSON document in the form of catalog.Catalog. Run with search_path set
-- to pg_catalog, so that definitions come out with qualified names.
WITH tn AS (
  SELECT t.oid, n.nspname || '.' || t.typname AS name FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
), ext AS (
  SELECT d.classid, d.objid, e.extname FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
  WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
), cols AS (
  SELECT a.attrelid, json_agg(json_strip_nulls(json_build_object(
    'num', a.attnum, 'name', a.attname, 'type', tn.name,
    'mod', nullif(substring(format_type(a.atttypid, a.atttypmod) FROM '\(.*\)'), ''),
    'not_null', nullif(a.attnotnull, false),
    'inline', nullif(a.attlen = -1 AND a.attstorage = 'p', false),
    'default', CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
    'generated', CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END,
    'collation', CASE WHEN a.attcollation <> y.typcollation THEN kn.nspname || '.' || k.collname END,
    'loose_collation', nullif(NOT coalesce(k.collisdeterministic, true), false))) ORDER BY a.attnum) AS list
  FROM pg_attribute a JOIN tn ON tn.oid = a.atttypid JOIN pg_type y ON y.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_collation k ON k.oid = a.attcollation LEFT JOIN pg_namespace kn ON kn.oid = k.collnamespace
  WHERE a.attnum > 0 AND NOT a.attisdropped GROUP BY 1
), cons AS (
  SELECT c.conrelid, json_agg(json_strip_nulls(json_build_object(
    'name', c.conname, 'kind', c.contype, 'columns', c.conkey,
    'expr', CASE WHEN c.contype = 'c' THEN pg_get_expr(c.conbin, c.conrelid) END,
    'not_valid', nullif(NOT c.convalidated, false),
    'ref_relation', nullif(c.confrelid::bigint, 0), 'ref_columns', c.confkey,
    'on_delete', CASE WHEN c.contype = 'f' THEN c.confdeltype END, 'on_update', CASE WHEN c.contype = 'f' THEN c.confupdtype END)) ORDER BY c.conname) AS list
  FROM pg_constraint c WHERE c.conrelid <> 0 AND c.contype IN ('c', 'f', 'p', 'u', 'x') GROUP BY 1
), idx AS (
  SELECT i.indrelid, json_agg(json_strip_nulls(json_build_object(
    'name', c.relname, 'unique', nullif(i.indisunique, false),
    'nulls_equal', (SELECT nullif((to_jsonb(i)->>'indnullsnotdistinct')::boolean, false)),
    'columns', i.indkey::int[],
    'exprs', CASE WHEN i.indexprs IS NOT NULL OR i.indpred IS NOT NULL THEN array_remove(ARRAY[pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid)], NULL) END
    )) ORDER BY c.relname) AS list
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid GROUP BY 1
), trg AS (
  SELECT t.tgrelid, json_agg(json_build_object('name', t.tgname, 'function', n.nspname || '.' || p.proname,
    'events', array_remove(ARRAY[CASE WHEN t.tgtype & 4 <> 0 THEN 'insert' END, CASE WHEN t.tgtype & 8 <> 0 THEN 'delete' END,
      CASE WHEN t.tgtype & 16 <> 0 THEN 'update' END, CASE WHEN t.tgtype & 32 <> 0 THEN 'truncate' END], NULL)) ORDER BY t.tgname) AS list
  FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' GROUP BY 1
), rels AS (
  SELECT json_agg(json_strip_nulls(json_build_object(
    'oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind, 'columns', cols.list,
    'definition', CASE WHEN c.relkind IN ('v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') THEN pg_get_viewdef(c.oid) END,
    'definition_path', CASE WHEN c.relkind IN ('v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') THEN ARRAY['pg_catalog'] END,
    'parents', (SELECT json_agg(inhparent::bigint ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = c.oid AND c.relkind <> 'i'),
    'constraints', cons.list, 'indexes', idx.list, 'triggers', trg.list,
    'rules', (SELECT true WHERE EXISTS (SELECT FROM pg_rewrite w WHERE w.ev_class = c.oid AND w.rulename <> '_RETURN')),
    'row_security', nullif(c.relrowsecurity, false),
    'policies', (SELECT json_agg(x) FROM pg_policy y, unnest(ARRAY[pg_get_expr(y.polqual, y.polrelid), pg_get_expr(y.polwithcheck, y.polrelid)]) x WHERE y.polrelid = c.oid AND x IS NOT NULL),
    'partition_key', (SELECT pt.partattrs::int[] FROM pg_partitioned_table pt WHERE pt.partrelid = c.oid),
    'extension', ext.extname, 'temporary', nullif(c.relpersistence = 't', false))) ORDER BY c.oid) AS list
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN cols ON cols.attrelid = c.oid LEFT JOIN cons ON cons.conrelid = c.oid LEFT JOIN idx ON idx.indrelid = c.oid
  LEFT JOIN trg ON trg.tgrelid = c.oid LEFT JOIN ext ON ext.classid = 'pg_class'::regclass AND ext.objid = c.oid
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c') AND n.nspname !~ '^pg_toast'
), funcs AS (
  SELECT json_agg(json_strip_nulls(json_build_object(
    'oid', p.oid::bigint, 'schema', n.nspname, 'name', p.proname, 'kind', p.prokind,
    'args', (SELECT json_agg(tn.name ORDER BY o) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY u(t, o) JOIN tn ON tn.oid = u.t),
    'defaults', nullif(p.pronargdefaults, 0), 'variadic', nullif(p.provariadic <> 0, false),
    'returns', rt.name, 'returns_set', nullif(p.proretset, false),
    'out', CASE WHEN p.proargmodes IS NOT NULL THEN (SELECT json_agg(coalesce(p.proargnames[o], '') ORDER BY o) FROM unnest(p.proargmodes) WITH ORDINALITY u(m, o) WHERE m IN ('o', 'b', 't')) END,
    'out_types', CASE WHEN p.proargmodes IS NOT NULL THEN (SELECT json_agg(tn.name ORDER BY o) FROM unnest(p.proargmodes, p.proallargtypes) WITH ORDINALITY u(m, t, o) JOIN tn ON tn.oid = u.t WHERE m IN ('o', 'b', 't')) END,
    'volatility', p.provolatile, 'strict', nullif(p.proisstrict, false), 'language', l.lanname, 'extension', ext.extname,
    'body', CASE WHEN l.lanname NOT IN ('internal', 'c') AND n.nspname NOT IN ('pg_catalog', 'information_schema') THEN p.prosrc END, 'settings', p.proconfig)) ORDER BY p.oid) AS list
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN tn rt ON rt.oid = p.prorettype JOIN pg_language l ON l.oid = p.prolang
  LEFT JOIN ext ON ext.classid = 'pg_proc'::regclass AND ext.objid = p.oid
), opers AS (
  SELECT json_agg(json_strip_nulls(json_build_object('schema', n.nspname, 'name', o.oprname, 'left', lt.name, 'right', rt.name,
    'result', zt.name, 'function', pn.nspname || '.' || p.proname, 'extension', ext.extname)) ORDER BY o.oid) AS list
  FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace LEFT JOIN tn lt ON lt.oid = o.oprleft LEFT JOIN tn rt ON rt.oid = o.oprright
  LEFT JOIN tn zt ON zt.oid = o.oprresult JOIN pg_proc p ON p.oid = o.oprcode JOIN pg_namespace pn ON pn.oid = p.pronamespace
  LEFT JOIN ext ON ext.classid = 'pg_operator'::regclass AND ext.objid = o.oid
), casts AS (
  SELECT json_agg(json_strip_nulls(json_build_object('from', f.name, 'to', t.name, 'function', pn.nspname || '.' || p.proname,
    'method', c.castmethod, 'context', c.castcontext, 'extension', ext.extname)) ORDER BY c.oid) AS list
  FROM pg_cast c JOIN tn f ON f.oid = c.castsource JOIN tn t ON t.oid = c.casttarget LEFT JOIN pg_proc p ON p.oid = c.castfunc
  LEFT JOIN pg_namespace pn ON pn.oid = p.pronamespace LEFT JOIN ext ON ext.classid = 'pg_cast'::regclass AND ext.objid = c.oid
), types AS (
  SELECT json_agg(json_strip_nulls(json_build_object('oid', t.oid::bigint, 'schema', n.nspname, 'name', t.typname, 'kind', t.typtype,
    'category', t.typcategory, 'preferred', nullif(t.typispreferred, false),
    'base', bt.name, 'element', CASE WHEN t.typcategory = 'A' THEN et.name END, 'relation', nullif(t.typrelid::bigint, 0),
    'checks', (SELECT true WHERE t.typnotnull OR EXISTS (SELECT FROM pg_constraint k WHERE k.contypid = t.oid)),
    'check', (SELECT string_agg(x, ' AND ') FROM (SELECT 'VALUE IS NOT NULL' AS x WHERE t.typnotnull
      UNION ALL SELECT '(' || pg_get_expr(k.conbin, 0) || ')' FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c') y),
    'extension', ext.extname)) ORDER BY t.oid) AS list
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN tn bt ON bt.oid = t.typbasetype LEFT JOIN tn et ON et.oid = t.typelem
  LEFT JOIN ext ON ext.classid = 'pg_type'::regclass AND ext.objid = t.oid
  WHERE n.nspname !~ '^pg_toast'
)
SELECT json_build_object('dialect', 'postgres', 'version', current_setting('server_version'), 'database', current_database(),
  'schemas', (SELECT json_agg(json_build_object('oid', oid::bigint, 'name', nspname) ORDER BY oid) FROM pg_namespace),
  'relations', rels.list, 'functions', funcs.list, 'operators', opers.list, 'casts', casts.list, 'types', types.list)
FROM rels, funcs, opers, casts, types

package postgres

// The queries by which the schema is read. They are on the closed list of
// docs/upstream.md. Each row is one JSON object with the keys of the struct
// of package catalog that it fills. Every name is qualified, because they run
// under the session's own search path too. PostgreSQL 13 and newer.

const serverSQL = `SELECT pg_catalog.current_setting('server_version'), pg_catalog.current_database()`

// versionSQL changes with every committed change of the schema: rows of the
// catalog are never updated in place but for statistics.
const versionSQL = `SELECT pg_catalog.concat_ws('/',
	(SELECT pg_catalog.concat(count(*), ':', max(xmin::text::bigint), ':', sum(xmin::text::bigint)) FROM pg_catalog.pg_class),
	(SELECT pg_catalog.concat(count(*), ':', max(xmin::text::bigint), ':', sum(xmin::text::bigint)) FROM pg_catalog.pg_attribute WHERE attrelid >= 16384),
	(SELECT pg_catalog.concat(count(*), ':', max(xmin::text::bigint), ':', sum(xmin::text::bigint)) FROM pg_catalog.pg_proc),
	(SELECT pg_catalog.concat(count(*), ':', max(xmin::text::bigint), ':', sum(xmin::text::bigint)) FROM pg_catalog.pg_rewrite),
	(SELECT pg_catalog.concat(count(*), ':', max(xmin::text::bigint), ':', sum(xmin::text::bigint)) FROM pg_catalog.pg_constraint),
	(SELECT pg_catalog.concat(count(*), ':', max(xmin::text::bigint), ':', sum(xmin::text::bigint)) FROM pg_catalog.pg_attrdef),
	(SELECT pg_catalog.concat(count(*), ':', max(xmin::text::bigint), ':', sum(xmin::text::bigint)) FROM pg_catalog.pg_index),
	(SELECT pg_catalog.concat(count(*), ':', max(xmin::text::bigint), ':', sum(xmin::text::bigint)) FROM pg_catalog.pg_trigger),
	(SELECT pg_catalog.concat(count(*), ':', max(xmin::text::bigint), ':', sum(xmin::text::bigint)) FROM pg_catalog.pg_policy),
	(SELECT pg_catalog.concat(count(*), ':', max(xmin::text::bigint), ':', sum(xmin::text::bigint)) FROM pg_catalog.pg_inherits),
	(SELECT pg_catalog.concat(count(*), ':', max(xmin::text::bigint), ':', sum(xmin::text::bigint)) FROM pg_catalog.pg_type),
	(SELECT pg_catalog.concat(count(*), ':', max(xmin::text::bigint), ':', sum(xmin::text::bigint)) FROM pg_catalog.pg_operator),
	(SELECT pg_catalog.concat(count(*), ':', max(xmin::text::bigint), ':', sum(xmin::text::bigint)) FROM pg_catalog.pg_cast),
	(SELECT pg_catalog.concat(count(*), ':', max(xmin::text::bigint), ':', sum(xmin::text::bigint)) FROM pg_catalog.pg_extension),
	(SELECT pg_catalog.concat(count(*), ':', max(xmin::text::bigint), ':', sum(xmin::text::bigint)) FROM pg_catalog.pg_namespace))`

// pinnedSQL changes with every change of the pinned objects below, within a
// transaction too (each version of a row has a place and a command of its
// own), and of any collation. Pinned objects refer to no others' names.
const pinnedSQL = `SELECT pg_catalog.concat_ws('/', pg_catalog.pg_postmaster_start_time(), (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),
	(SELECT pg_catalog.concat(count(*), ':', sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', ctid, xmin, cmin), oid::bigint))) FROM pg_catalog.pg_proc WHERE oid < 12000),
	(SELECT pg_catalog.concat(count(*), ':', sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', ctid, xmin, cmin), oid::bigint))) FROM pg_catalog.pg_operator WHERE oid < 12000),
	(SELECT pg_catalog.concat(count(*), ':', sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', ctid, xmin, cmin), oid::bigint))) FROM pg_catalog.pg_cast WHERE oid < 12000),
	(SELECT pg_catalog.concat(count(*), ':', sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', ctid, xmin, cmin), oid::bigint))) FROM pg_catalog.pg_type WHERE oid < 12000),
	(SELECT pg_catalog.concat(count(*), ':', sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', ctid, xmin, cmin), oid::bigint))) FROM pg_catalog.pg_namespace WHERE oid < 12000),
	(SELECT pg_catalog.concat(count(*), ':', sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', ctid, xmin, cmin), oid::bigint))) FROM pg_catalog.pg_language WHERE oid < 12000),
	(SELECT pg_catalog.concat(count(*), ':', sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', ctid, xmin, cmin), oid::bigint))) FROM pg_catalog.pg_collation),
	(SELECT pg_catalog.concat(count(*), ':', sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', ctid, xmin, cmin), contypid::bigint))) FROM pg_catalog.pg_constraint WHERE contypid > 0 AND contypid < 12000),
	(SELECT pg_catalog.concat(count(*), ':', sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', ctid, xmin, cmin), objid::bigint))) FROM pg_catalog.pg_depend
		WHERE classid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass, 'pg_catalog.pg_cast'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass)
			AND objid < 12000 AND deptype = 'e'))`

// Which rows of a part are read: those that the server's source gives their
// identifiers, which it pins, and the others. The line is FirstUnpinnedObjectId
// in postgres/src/include/access/transam.h (before 14, FirstBootstrapObjectId).
const pinned, unpinned = "< 12000", ">= 12000"

const schemasSQL = `SELECT pg_catalog.row_to_json(r) FROM (
	SELECT n.oid::bigint AS oid, n.nspname AS name,
		CASE WHEN NOT pg_catalog.has_schema_privilege('public', n.oid, 'USAGE')
			THEN (SELECT coalesce(pg_catalog.json_agg(a.rolname), '[]') FROM pg_catalog.pg_roles a WHERE pg_catalog.has_schema_privilege(a.oid, n.oid, 'USAGE')) END AS usable_by
	FROM pg_catalog.pg_namespace n WHERE n.nspname NOT LIKE 'pg\_toast%' ORDER BY n.nspname) r`

const relationsSQL = `SELECT pg_catalog.row_to_json(r) FROM (
	SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name,
		CASE c.relkind WHEN 'I' THEN 'i' ELSE c.relkind::text END AS kind,
		CASE WHEN c.relkind NOT IN ('i', 'I') THEN (
			SELECT pg_catalog.json_agg(pg_catalog.json_build_object('num', a.attnum, 'name', a.attname,
				'type', (SELECT tn.nspname || '.' || t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace WHERE t.oid = a.atttypid),
				'mod', CASE WHEN a.atttypmod >= 0 THEN pg_catalog.substring(pg_catalog.format_type(a.atttypid, a.atttypmod), '\(.*\)') END, 'not_null', a.attnotnull,
				'default', CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END,
				'generated', CASE WHEN a.attgenerated <> '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END,
				'virtual', a.attgenerated = 'v', 'inline', a.attlen = -1 AND a.attstorage = 'p',
				'collation', CASE WHEN a.attcollation <> 0 AND a.attcollation <> (SELECT t.typcollation FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid) THEN (SELECT cn.nspname || '.' || co.collname FROM pg_catalog.pg_namespace cn WHERE cn.oid = co.collnamespace) END,
				'loose_collation', NOT coalesce(co.collisdeterministic, true)) ORDER BY a.attnum)
			FROM pg_catalog.pg_attribute a
			LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
			LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
			WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) END AS columns,
		CASE WHEN c.relkind IN ('v', 'm') AND c.oid >= 16384 THEN pg_catalog.pg_get_viewdef(c.oid) END AS definition,
		CASE WHEN c.oid >= 16384 AND c.relkind NOT IN ('i', 'I', 'S') THEN pg_catalog.to_json(pg_catalog.current_schemas(true)) END AS definition_path,
		(SELECT pg_catalog.json_agg(i.inhparent::bigint) FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid AND c.relkind NOT IN ('i', 'I')) AS parents,
		CASE WHEN c.oid >= 16384 THEN (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', k.conname, 'kind', k.contype, 'not_valid', NOT k.convalidated,
				'columns', pg_catalog.to_json(k.conkey), 'expr', CASE WHEN k.contype = 'c' THEN pg_catalog.pg_get_expr(k.conbin, k.conrelid) END,
				'ref_relation', k.confrelid::bigint, 'ref_columns', pg_catalog.to_json(k.confkey),
				'on_delete', CASE WHEN k.contype = 'f' THEN k.confdeltype END, 'on_update', CASE WHEN k.contype = 'f' THEN k.confupdtype END) ORDER BY k.conname)
			FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('c', 'f', 'p', 'u', 'x')) END AS constraints,
		CASE WHEN c.oid >= 16384 THEN (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', ic.relname, 'unique', x.indisunique,
				'nulls_equal', coalesce((pg_catalog.to_json(x) ->> 'indnullsnotdistinct')::boolean, false),
				'columns', pg_catalog.array_to_json(pg_catalog.string_to_array(x.indkey::text, ' ')::int[]),
				'exprs', pg_catalog.to_json(pg_catalog.array_remove(ARRAY[pg_catalog.pg_get_expr(x.indexprs, x.indrelid), pg_catalog.pg_get_expr(x.indpred, x.indrelid)], NULL)))
				ORDER BY ic.relname)
			FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class ic ON ic.oid = x.indexrelid WHERE x.indrelid = c.oid) END AS indexes,
		CASE WHEN c.oid >= 16384 THEN (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', g.tgname, 'function', fn.nspname || '.' || p.proname,
				'events', pg_catalog.to_json(pg_catalog.array_remove(ARRAY[CASE WHEN g.tgtype & 4 <> 0 THEN 'insert' END, CASE WHEN g.tgtype & 16 <> 0 THEN 'update' END,
					CASE WHEN g.tgtype & 8 <> 0 THEN 'delete' END, CASE WHEN g.tgtype & 32 <> 0 THEN 'truncate' END], NULL))) ORDER BY g.tgname)
			FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid JOIN pg_catalog.pg_namespace fn ON fn.oid = p.pronamespace
			WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgenabled <> 'D') END AS triggers,
		c.oid >= 16384 AND EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid AND w.rulename <> '_RETURN' AND w.ev_enabled <> 'D') AS rules,
		c.relrowsecurity AS row_security,
		CASE WHEN c.relrowsecurity THEN (SELECT pg_catalog.json_agg(e.x) FROM pg_catalog.pg_policy p,
				LATERAL (VALUES (pg_catalog.pg_get_expr(p.polqual, p.polrelid)), (pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))) e(x)
			WHERE p.polrelid = c.oid AND e.x IS NOT NULL) END AS policies,
		(SELECT pg_catalog.array_to_json(pg_catalog.string_to_array(pt.partattrs::text, ' ')::int[]) FROM pg_catalog.pg_partitioned_table pt WHERE pt.partrelid = c.oid) AS partition_key,
		coalesce((SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
			WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'), '') AS extension
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname NOT LIKE 'pg\_toast%' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c', 'i', 'I')`

// relationsEnd ends relationsSQL, behind a further condition.
const relationsEnd = ` ORDER BY c.oid) r`

// marksSQL gives each relation a mark that changes with every row that
// relationsSQL reads of it but for names of other objects. It takes no locks
// on relations, as writing out a view's query does.
const marksSQL = `SELECT c.oid::bigint, pg_catalog.concat_ws('/', c.ctid, c.xmin, c.cmin,
	CASE WHEN c.relkind NOT IN ('i', 'I') THEN pg_catalog.concat_ws('/',
		(SELECT sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', a.ctid, a.xmin, a.cmin), a.attnum)) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid), '-',
		(SELECT sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', d.ctid, d.xmin, d.cmin), d.adnum)) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid), '-',
		(SELECT sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', k.ctid, k.xmin, k.cmin), k.oid::bigint)) FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid), '-',
		(SELECT sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', x.ctid, x.xmin, x.cmin, ic.ctid, ic.xmin, ic.cmin), ic.oid::bigint))
			FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class ic ON ic.oid = x.indexrelid WHERE x.indrelid = c.oid), '-',
		(SELECT sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', g.ctid, g.xmin, g.cmin), g.oid::bigint)) FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid), '-',
		(SELECT sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', w.ctid, w.xmin, w.cmin), w.oid::bigint)) FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid), '-',
		(SELECT sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', p.ctid, p.xmin, p.cmin), p.oid::bigint)) FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid), '-',
		(SELECT sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', i.ctid, i.xmin, i.cmin), i.inhseqno)) FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid), '-',
		(SELECT pg_catalog.concat_ws(' ', pt.ctid, pt.xmin, pt.cmin) FROM pg_catalog.pg_partitioned_table pt WHERE pt.partrelid = c.oid)) END, '-',
	(SELECT sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', d.ctid, d.xmin, d.cmin), d.refobjid::bigint)) FROM pg_catalog.pg_depend d
		WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'))
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname NOT LIKE 'pg\_toast%' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c', 'i', 'I')`

const functionsSQL = `SELECT pg_catalog.row_to_json(r) FROM (
	SELECT p.oid::bigint AS oid, n.nspname AS schema, p.proname AS name, p.prokind AS kind,
		(SELECT pg_catalog.json_agg((SELECT tn.nspname || '.' || t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace WHERE t.oid = a.o) ORDER BY a.i)
			FROM pg_catalog.unnest(p.proargtypes::oid[]) WITH ORDINALITY a(o, i)) AS args,
		p.pronargdefaults AS defaults, p.provariadic <> 0 AS variadic,
		(SELECT tn.nspname || '.' || t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace WHERE t.oid = p.prorettype) AS returns,
		p.proretset AS returns_set,
		CASE WHEN p.proargmodes IS NOT NULL THEN (SELECT pg_catalog.json_agg(coalesce(p.proargnames[m.i], 'column' || m.i) ORDER BY m.i)
			FROM pg_catalog.unnest(p.proargmodes) WITH ORDINALITY m(k, i) WHERE m.k IN ('o', 'b', 't')) END AS out,
		CASE WHEN p.proargmodes IS NOT NULL THEN (SELECT pg_catalog.json_agg((SELECT tn.nspname || '.' || t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
				WHERE t.oid = m.o) ORDER BY m.i)
			FROM ROWS FROM (pg_catalog.unnest(p.proargmodes), pg_catalog.unnest(p.proallargtypes)) WITH ORDINALITY m(k, o, i) WHERE m.k IN ('o', 'b', 't')) END AS out_types,
		p.provolatile AS volatility, p.proisstrict AS strict, l.lanname AS language,
		coalesce(e.extname, '') AS extension,
		CASE WHEN l.lanname IN ('sql', 'plpgsql') AND p.oid >= 16384 THEN p.prosrc END AS body,
		pg_catalog.to_json(p.proconfig) AS settings
	FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace JOIN pg_catalog.pg_language l ON l.oid = p.prolang
	LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'
	LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
	WHERE p.oid %s ORDER BY p.oid) r`

const operatorsSQL = `SELECT pg_catalog.row_to_json(r) FROM (
	SELECT n.nspname AS schema, o.oprname AS name,
		(SELECT tn.nspname || '.' || t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace WHERE t.oid = o.oprleft) AS left,
		(SELECT tn.nspname || '.' || t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace WHERE t.oid = o.oprright) AS right,
		(SELECT tn.nspname || '.' || t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace WHERE t.oid = o.oprresult) AS result,
		(SELECT fn.nspname || '.' || p.proname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace fn ON fn.oid = p.pronamespace WHERE p.oid = o.oprcode) AS function,
		coalesce(e.extname, '') AS extension
	FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
	LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND d.objid = o.oid AND d.deptype = 'e'
	LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
	WHERE o.oid %s ORDER BY o.oid) r`

const castsSQL = `SELECT pg_catalog.row_to_json(r) FROM (
	SELECT fn.nspname || '.' || f.typname AS "from", tn.nspname || '.' || t.typname AS "to", c.castmethod AS method, c.castcontext AS context,
		(SELECT pn.nspname || '.' || p.proname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace WHERE p.oid = c.castfunc) AS function,
		coalesce(e.extname, '') AS extension
	FROM pg_catalog.pg_cast c
	JOIN pg_catalog.pg_type f ON f.oid = c.castsource JOIN pg_catalog.pg_namespace fn ON fn.oid = f.typnamespace
	JOIN pg_catalog.pg_type t ON t.oid = c.casttarget JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
	LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_cast'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'
	LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
	WHERE c.oid %s ORDER BY c.oid) r`

const typesSQL = `SELECT pg_catalog.row_to_json(r) FROM (
	SELECT t.oid::bigint AS oid, n.nspname AS schema, t.typname AS name, t.typtype AS kind, t.typcategory AS category, t.typispreferred AS preferred,
		(SELECT bn.nspname || '.' || b.typname FROM pg_catalog.pg_type b JOIN pg_catalog.pg_namespace bn ON bn.oid = b.typnamespace WHERE b.oid = t.typbasetype) AS base,
		CASE WHEN t.typcategory = 'A' THEN (SELECT bn.nspname || '.' || b.typname FROM pg_catalog.pg_type b JOIN pg_catalog.pg_namespace bn ON bn.oid = b.typnamespace WHERE b.oid = t.typelem) END AS element,
		t.typrelid::bigint AS relation,
		t.typtype = 'd' AND (t.typnotnull OR EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid)) AS checks,
		CASE WHEN t.typtype = 'd' THEN (SELECT pg_catalog.string_agg(y.x, ' AND ') FROM (SELECT 'VALUE IS NOT NULL' AS x WHERE t.typnotnull
			UNION ALL SELECT '(' || pg_catalog.pg_get_expr(k.conbin, 0) || ')' FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c') y) END AS check,
		coalesce(e.extname, '') AS extension
	FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
	LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'e'
	LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
	WHERE t.oid %s ORDER BY t.oid) r`

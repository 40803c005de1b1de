// Package mysql speaks the client/server protocol of MySQL and MariaDB,
// version 4.1 and newer, towards clients and towards the upstream. It refuses
// what it cannot follow: replication, compression, character sets in which a
// byte of ASCII can be part of another character, LOAD DATA LOCAL unless the
// policy allows it, and commands that it does not know.
//
//	client                    sallyport                        MySQL, MariaDB
//	  │◄─ greeting ──────────────│ (the upstream's version)          │
//	  │ TLS, login ─────────────►│ Host.Login                        │
//	  │                          │ Dial, greeting, TLS, login ──────►│
//	  │◄─ OK ────────────────────│◄──────────────────────────── OK ──│
//	  │ COM_QUERY ──────────────►│ Admit ─► ticket(s)                │
//	  │                          │ Send(ticket, COM_QUERY) ─────────►│
//	  │◄─ masked rows ───────────│◄─ columns (Bind), rows ───────────│
//	  │ COM_STMT_PREPARE ───────►│ Admit(Prepare)                    │
//	  │ COM_STMT_EXECUTE ───────►│ Admit(Execute) ─► ticket ────────►│
//	  │ COM_STMT_FETCH ─────────►│ the same ticket ─────────────────►│
//	  │◄─ ERR, for a refusal ────│ (nothing is sent; the session and │
//	  │                          │  its transaction go on)           │
//
// The protocol answers each command before it reads the next one, so one
// goroutine serves a session.
//
// # What analysis is given
//
// The schema (catalog.Catalog) is the whole server's as the upstream account
// sees it, information_schema, mysql, performance_schema and sys included:
//
//   - Dialect is "mysql" or "mariadb", Version the server's without MariaDB's
//     "5.5.5-" prefix ("10.11.14-MariaDB-0+deb12u2", "8.0.36").
//   - A database is a Schema; its Relations have Kind r (tables), v (views,
//     and the tables of information_schema), S (MariaDB's sequences). OIDs are
//     made up, from 1, and hold within one Catalog only.
//   - Column.Num is ORDINAL_POSITION, Column.Type DATA_TYPE in lower case and
//     unqualified ("varchar", "bigint", "enum"), Column.Mod what COLUMN_TYPE has
//     beyond it ("(10,2) unsigned"), Column.Collation the collation's name, ""
//     where the type has none. Column.Generated is a generated column's
//     expression. LooseCollation is set unless the collation compares bytes
//     without padding ("binary", *_nopad_bin, utf8mb4_0900_bin): under every
//     other one, equal values may be written differently.
//   - Definition of a view is VIEW_DEFINITION, in which names are qualified;
//     DefinitionPath is its own database.
//   - Constraints and Indexes are filled as for PostgreSQL; Exprs of an index
//     are its functional key parts.
//   - Functions are the stored functions (Kind f) and procedures (p), with
//     Language "sql" and the Body of ROUTINE_DEFINITION, Settings
//     "sql_mode=…" and "security=definer" or "security=invoker"; loadable
//     functions (Kind f or a) have Schema "mysql" and Language "c". A trigger's body is the
//     Function of Kind t named "trigger NAME" in its database, which
//     Trigger.Function names.
//
// A session's View:
//
//   - SearchPath is the current database alone, or empty where there is none.
//   - Role is CURRENT_USER() upstream. TempSchema changes with Temporary.
//   - Settings always has sql_mode (as the server writes it out, upper case,
//     combinations resolved), character_set_client, character_set_connection, character_set_results
//     ("" for NULL), collation_connection, autocommit ("0" or "1"),
//     lower_case_table_names, and diagnostics, which is "classed" after a
//     statement that touched a classed table: SHOW WARNINGS, GET DIAGNOSTICS,
//     @@warning_count and the like then speak of its values.
//   - Prepared are SQL-level prepared statements (Change.Prepare, Deallocate).
//   - Variables are user variables whose value a SET to a constant has fixed
//     (Change.Variables), until something else may have changed them
//     (Change.Forget). Facts that came from Prepared, Variables or Temporary
//     must be Volatile or depend on what the key of the cache has.
//   - Temporary are temporary tables as analysis describes them when it reads
//     CREATE TEMPORARY TABLE (Change.Temporary); SQL gives no way to list them.
//
// And what the wire expects of analysis:
//
//   - Change.SearchPath after USE; Change.Settings where SET's values are
//     constants. The upstream's session tracking tells the wire the current
//     database and settings after each statement in any case, so
//     ReloadSession costs nothing where analysis is unsure.
//   - Facts.OpenResults for CALL, and for whatever else returns results that
//     are not known beforehand (EXECUTE of a CALL, BEGIN NOT ATOMIC).
//   - KILL is Effect.Verb "KILL"; the wire maps its id and sends no KILL of the
//     client's upstream. It must stand alone in its text, with a number.
//   - LOAD DATA LOCAL and LOAD XML LOCAL have Effect.Verb "LOAD DATA LOCAL"; the
//     wire lets the client's file pass for that verb alone.
//   - COM_INIT_DB is analysed as "USE `db`", COM_FIELD_LIST as "SHOW COLUMNS
//     FROM `t`", COM_SET_OPTION, COM_PING and COM_STATISTICS not at all.
//   - A Problem's Code is MySQL's error number ("1146"), or a SQLSTATE where
//     there is none.
//
// Sources: https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html
// and https://mariadb.com/kb/en/clientserver-protocol/.
package mysql

// Package myfacts reads statements of MySQL's dialect, as MariaDB and MySQL
// speak it: a text and a session's view of the schema become facts, by the
// TiDB parser behind a lexer pass of our own.
//
// The lexer pass goes first because that parser's reading of comments is not
// the server's: it takes MariaDB's /*M! … */ for a comment, TiDB's /*T! … */
// for code, and pays no heed to versions. The pass resolves comments as the
// server of the view's flavour and version would, under the session's
// sql_mode, splits a text into statements, bounds its depth, and hands the
// parser a text of the same length in which no comment is left.
//
// What the parser does not know of MariaDB's grammar is either read by this
// package (RETURNING, EXPLAIN and ANALYZE, INTO, CREATE OR REPLACE, compound
// statements) or refused with a reason.
//
// It is pure and safe for concurrent use.
package myfacts

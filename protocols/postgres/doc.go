// Package postgres speaks PostgreSQL's frontend/backend protocol, versions
// 3.0 and 3.2, towards clients and towards the upstream. It refuses what it
// cannot follow: replication, protocol 2, GSS encryption, client encodings
// other than UTF-8, and settings that change how a text is read.
//
//	client                    sallyport                         PostgreSQL
//	  │ SSLRequest / Startup     │                                  │
//	  │ SASL (SCRAM-SHA-256)     │ Host.Login                       │
//	  │                          │ Dial, SSLRequest, Startup, SASL ─►│
//	  │◄─ parameters, own key ───│◄─────────── ReadyForQuery ───────│
//	  │ Query                    │ Admit ─► ticket(s)               │
//	  │                          │ Send(ticket, Query) ────────────►│
//	  │◄─ masked rows ───────────│◄─ RowDescription (Bind), rows ───│
//	  │ Parse … Sync             │ Admit(Prepare), Admit(Execute)   │
//	  │                          │ refused: a text that is always a │
//	  │◄─ the refusal's error ───│  syntax error goes in its place ─►│
//
// One goroutine reads the client, decides and forwards; another reads the
// upstream, masks, records and answers. Between them stands a queue of what
// each forwarded message will be answered with (queue.go).
//
// Source: https://www.postgresql.org/docs/current/protocol.html.
package postgres

package myfacts

import "github.com/sallyport-proxy/sallyport/sqlpolicy/facts"

// refusedWords refuses, by its first words, what is understood and never
// forwarded.
func refusedWords(l *lexed, p piece) *facts.Problem {
	refuse := func(what, why string) *facts.Problem {
		return &facts.Problem{Code: "0A000", At: l.tokens[p.first].from, Message: what + " does not pass the proxy", Detail: why}
	}
	w, second := l.word(p.first), l.word(p.first+1)
	switch w {
	case "HANDLER":
		return refuse("HANDLER", "It reads rows in the order of an index, which tells the order of the values.")
	case "SET":
		if second == "STATEMENT" {
			return refuse("SET STATEMENT", "It changes settings that the proxy keeps in view for one statement only; use SET and then the statement.")
		}
	case "EXECUTE":
		if second == "IMMEDIATE" {
			return refuse("EXECUTE IMMEDIATE", "It runs a text that is made while it runs.")
		}
	case "BINLOG", "INSTALL", "UNINSTALL", "CHANGE", "SHUTDOWN", "BACKUP", "RESTART", "CLONE", "IMPORT", "PURGE":
		return refuse(w, "It is for the server's administrators, who have their own way to it.")
	case "START", "STOP":
		if second == "SLAVE" || second == "REPLICA" || second == "ALL" || second == "GROUP_REPLICATION" {
			return refuse(w+" "+second, "It is for the server's administrators, who have their own way to it.")
		}
	}
	return nil
}

// ownStatement names a statement that this package reads by its words: the
// parser does not know it, or not all of it.
func ownStatement(l *lexed, first, last int) string {
	w, second := l.word(first), l.word(first+1)
	switch w {
	case "XA", "SIGNAL", "RESIGNAL", "GET", "DO", "UNLOCK", "CHECKSUM", "CHECK", "REPAIR", "OPTIMIZE", "ANALYZE", "CACHE", "RESET", "HELP", "KILL", "LOCK", "FLUSH", "CALL":
		if w == "DO" || w == "CALL" {
			return "" // the parser's
		}
		return w
	case "SHOW":
		return w
	case "BEGIN":
		if second == "NOT" {
			return "BEGIN NOT ATOMIC"
		}
	case "CREATE", "ALTER", "DROP":
		for i := first + 1; i < last && i < first+16; i++ {
			switch k := l.word(i); k {
			case "PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "SERVER", "PACKAGE", "SEQUENCE", "LOGFILE", "TABLESPACE", "USER", "ROLE":
				return w + " " + k
			case "TABLE", "VIEW", "INDEX", "DATABASE", "SCHEMA":
				return ""
			}
		}
	case "GRANT", "REVOKE", "RENAME":
		if w == "RENAME" && second == "TABLE" || w == "RENAME" && second == "TABLES" {
			return ""
		}
		return w
	case "SET":
		switch second {
		case "PASSWORD", "ROLE", "DEFAULT":
			return w + " " + second
		case "TRANSACTION":
			return w + " " + second
		}
		if (second == "SESSION" || second == "GLOBAL" || second == "LOCAL") && l.word(first+2) == "TRANSACTION" {
			return w + " TRANSACTION"
		}
	}
	return ""
}

package myfacts

import (
	"strconv"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// dialect is all of a session that a text's meaning depends on before names
// are resolved.
type dialect struct {
	mariadb bool
	version int // 101119 for 10.11.19, 80036 for 8.0.36
	mode    mysql.SQLMode
	// ascii says that the client's character set has no letters beyond ASCII
	// that are read the same as in UTF-8.
	ascii bool
	// narrow says that the client's UTF-8 ends at three bytes.
	narrow bool
}

// Settings of a view that analysis reads, by their names in the server.
const (
	settingMode        = "sql_mode"
	settingClient      = "character_set_client"
	settingConnection  = "collation_connection"
	settingCase        = "lower_case_table_names"
	settingDiagnostics = "diagnostics"
)

// dialectOf reads a view's settings. What would make a text mean something
// else to the server than to this package is a problem.
func dialectOf(v *catalog.View) (dialect, error) {
	d := dialect{mariadb: isMariaDB(v), version: versionNumber(v.Version)}
	var err error
	if d.mode, err = parseMode(v.Settings.Get(settingMode)); err != nil {
		return d, err
	}
	client := strings.ToLower(v.Settings.Get(settingClient))
	switch {
	case client == "" || client == "utf8mb4":
	case client == "utf8" || client == "utf8mb3":
		d.narrow = true
	case asciiSuperset(client):
		d.ascii = true
	default:
		return d, unsafeCharset(client)
	}
	return d, nil
}

func isMariaDB(v *catalog.View) bool {
	return v.Dialect == "mariadb" || strings.Contains(strings.ToLower(v.Version), "mariadb")
}

// versionNumber is a server's version as version comments count it.
func versionNumber(s string) int {
	s = strings.TrimPrefix(s, "5.5.5-") // how MariaDB greets old replicas
	n, parts := 0, 0
	for _, p := range strings.SplitN(s, ".", 3) {
		end := strings.IndexFunc(p, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			end = len(p)
		}
		v, err := strconv.Atoi(p[:end])
		if err != nil || v > 99 {
			return 0
		}
		n, parts = n*100+v, parts+1
	}
	if parts != 3 {
		return 0
	}
	return n
}

// parseMode reads sql_mode. Modes that change the grammar in ways that are
// not followed are refused.
func parseMode(s string) (mysql.SQLMode, error) {
	var m mysql.SQLMode
	for word := range strings.SplitSeq(strings.ToUpper(s), ",") {
		switch word = strings.TrimSpace(word); word {
		case "ANSI_QUOTES":
			m |= mysql.ModeANSIQuotes
		case "ANSI":
			m |= mysql.ModeANSIQuotes | mysql.ModePipesAsConcat | mysql.ModeIgnoreSpace | mysql.ModeRealAsFloat
		case "PIPES_AS_CONCAT":
			m |= mysql.ModePipesAsConcat
		case "IGNORE_SPACE":
			m |= mysql.ModeIgnoreSpace
		case "NO_BACKSLASH_ESCAPES":
			m |= mysql.ModeNoBackslashEscapes
		case "HIGH_NOT_PRECEDENCE":
			m |= mysql.ModeHighNotPrecedence
		case "ORACLE", "MSSQL", "DB2", "MAXDB", "POSTGRESQL", "EMPTY_STRING_IS_NULL", "SIMULTANEOUS_ASSIGNMENT", "MYSQL323", "MYSQL40":
			return 0, &facts.Problem{Code: "0A000", At: -1, Message: "sql_mode " + word + " does not pass the proxy",
				Detail: "It changes what statements mean.", Hint: "Leave it out of sql_mode."}
		}
	}
	return m, nil
}

// asciiSuperset says that a character set reads each ASCII byte as itself,
// whatever stands before it.
func asciiSuperset(name string) bool {
	switch name {
	case "ascii", "latin1", "latin2", "latin5", "latin7", "cp850", "cp852", "cp866", "cp1250", "cp1251", "cp1256", "cp1257",
		"koi8r", "koi8u", "greek", "hebrew", "macce", "macroman", "armscii8", "geostd8", "keybcs2", "dec8", "hp8", "swe7", "tis620", "binary":
		return name != "swe7" // which has letters in the place of backslash and backquote
	}
	return false
}

func unsafeCharset(name string) *facts.Problem {
	return &facts.Problem{Code: "0A000", At: -1, Message: "the character set " + strconv.Quote(name) + " does not pass the proxy",
		Detail: "Texts are read as UTF-8: in other sets a quote can be half of a letter.",
		Hint:   "Use SET NAMES utf8mb4; drivers convert on their side."}
}

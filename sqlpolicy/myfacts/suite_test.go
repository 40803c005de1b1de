package myfacts

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// suiteRead is the share of the statements of MariaDB's own tests that must be
// read; docs/mysql.md has the figures.
const suiteRead = 0.935

// TestMariaDBSuite reads the statements, each once, of MariaDB's own tests
// (mysql-test/main of Debian's mariadb-test-data) and reports which share of
// them is read by the parser, which by their words, and what is refused.
func TestMariaDBSuite(t *testing.T) {
	cache, err := throwaway.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(cache, "mariadb-suite", "main", "*.test"))
	if err != nil || len(files) == 0 {
		t.Fatalf("MariaDB's tests are not there (run `make setup-tests`): %v", err)
	}
	d := dialect{mariadb: true, version: 101119}
	statements, parsed, words := 0, 0, 0
	refused, seen := map[string]int{}, map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range suiteStatements(string(text)) {
			if seen[s] {
				continue
			}
			seen[s] = true
			statements++
			switch node, err := readAll(d, s); {
			case err != nil:
				refused[kindOfRefusal(err.Error())]++
			case node:
				parsed++
			default:
				words++
			}
		}
	}
	share := func(n int) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(statements)) }
	t.Logf("%d statements: %s are read, %s by the parser and %s by their words", statements, share(parsed+words), share(parsed), share(words))
	kinds := make([]string, 0, len(refused))
	for k := range refused {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b string) int { return refused[b] - refused[a] })
	for _, k := range kinds[:min(25, len(kinds))] {
		t.Logf("refused %5d  %s", refused[k], k)
	}
	if statements < 50_000 || float64(parsed+words) < suiteRead*float64(statements) {
		t.Errorf("%d of %d statements are read", parsed+words, statements)
	}
}

// readAll reads a text as Analyse does, up to where it looks names up. node
// says that the parser has read a part of it.
func readAll(d dialect, text string) (node bool, err error) {
	l, err := lex(d, text, Limits{})
	if err != nil {
		return false, err
	}
	pieces, err := split(l)
	if err != nil {
		return false, err
	}
	for _, p := range pieces {
		s, err := parse(d, l, p)
		if err != nil {
			return false, err
		}
		node = node || s.node != nil
	}
	return node, nil
}

// kindOfRefusal is a refusal without what differs from statement to statement.
func kindOfRefusal(message string) string {
	if _, near, ok := strings.Cut(message, "near "); ok {
		return "not parsed, near " + near
	}
	return message
}

var (
	// testCommands are the words that are mysqltest's and not SQL. Source:
	// command_names in client/mysqltest.cc of MariaDB.
	testCommands = wordSet(`CONNECTION QUERY CONNECT SLEEP REAL_SLEEP INC DEC SOURCE DISCONNECT LET ECHO EXPR WHILE END SAVE_MASTER_POS SYNC_WITH_MASTER
		SYNC_SLAVE_WITH_MASTER ERROR SEND REAP DIRTY_CLOSE REPLACE_RESULT REPLACE_COLUMN PING EVAL EVALP EVALP_RESULT EVAL_RESULT ENABLE_QUERY_LOG DISABLE_QUERY_LOG
		ENABLE_RESULT_LOG DISABLE_RESULT_LOG ENABLE_CONNECT_LOG DISABLE_CONNECT_LOG WAIT_FOR_SLAVE_TO_STOP ENABLE_WARNINGS DISABLE_WARNINGS ENABLE_INFO
		DISABLE_INFO ENABLE_SESSION_TRACK_INFO DISABLE_SESSION_TRACK_INFO ENABLE_METADATA DISABLE_METADATA ENABLE_COLUMN_NAMES DISABLE_COLUMN_NAMES EXEC EXECW DELIMITER
		DISABLE_ABORT_ON_ERROR ENABLE_ABORT_ON_ERROR VERTICAL_RESULTS HORIZONTAL_RESULTS QUERY_VERTICAL QUERY_HORIZONTAL SORTED_RESULT LOWERCASE_RESULT
		START_TIMER END_TIMER CHARACTER_SET DISABLE_PS_PROTOCOL ENABLE_PS_PROTOCOL DISABLE_RECONNECT ENABLE_RECONNECT IF DIE EXIT SKIP CHMOD APPEND_FILE CAT_FILE
		DIFF_FILES SEND_QUIT CHANGE_USER MKDIR RMDIR LIST_FILES COPY_FILE PERL REMOVE_FILE REMOVE_FILES_WILDCARD WRITE_FILE FILE_EXISTS MOVE_FILE
		SEND_SHUTDOWN SHUTDOWN_SERVER RESULT_FORMAT ENABLE_PREPARE_WARNINGS DISABLE_PREPARE_WARNINGS RESET_CONNECTION OPTIMIZER_TRACE
		ENABLE_CURSOR_PROTOCOL DISABLE_CURSOR_PROTOCOL ENABLE_VIEW_PROTOCOL DISABLE_VIEW_PROTOCOL ENABLE_SERVICE_CONNECTION DISABLE_SERVICE_CONNECTION
		ENABLE_NON_BLOCKING_API DISABLE_NON_BLOCKING_API ENABLE_PS2_PROTOCOL DISABLE_PS2_PROTOCOL REPLACE_REGEX REPLACE_NUMERIC_ROUND START_TIMER`)
	testVariable = regexp.MustCompile(`\$[A-Za-z_]`)
	leadingWord  = regexp.MustCompile(`^[A-Za-z_0-9]+`)
	newDelimiter = regexp.MustCompile(`(?i)^(?:--\s*)?delimiter\s+(\S+?);?\s*$`)
)

// suiteStatements are the statements of a script of mysqltest: cut at its
// delimiter outside of quotes, without its commands and without those that
// have its variables, or bytes that are not UTF-8, in them.
func suiteStatements(script string) (out []string) {
	delimiter := ";"
	for rest := script; rest != ""; {
		rest = strings.TrimLeft(rest, " \t\r\n")
		line, after, _ := strings.Cut(rest, "\n")
		line = strings.TrimRight(line, "\r ")
		word := strings.ToUpper(leadingWord.FindString(line))
		switch {
		case line == "" || line[0] == '#' || line[0] == '{' || line[0] == '}' || strings.HasPrefix(line, "--") || word == "DELIMITER":
			if m := newDelimiter.FindStringSubmatch(strings.TrimSuffix(line, delimiter)); m != nil {
				delimiter = m[1]
			}
			rest = afterBlock(line, after)
			continue
		case word == "IF" || word == "WHILE": // with a brace behind its bracket
			rest = after
			continue
		}
		var s string
		s, rest = cutStatement(rest, delimiter)
		if testCommands[word] {
			rest = afterBlock(strings.ToLower(line), rest)
		} else if s != "" && !testVariable.MatchString(s) && utf8.ValidString(s) {
			out = append(out, s)
		}
	}
	return out
}

// afterBlock passes by the text of a file or a program that a command has.
func afterBlock(command, rest string) string {
	command = strings.TrimLeft(command, "- ")
	for _, c := range []string{"perl", "write_file", "append_file"} {
		if strings.HasPrefix(command, c) {
			end := "EOF"
			if f := strings.Fields(strings.TrimRight(command, "; ")); len(f) > 1 && (c == "perl" || len(f) > 2) {
				end = strings.ToUpper(f[len(f)-1])
			}
			for rest != "" {
				var line string
				line, rest, _ = strings.Cut(rest, "\n")
				if strings.TrimRight(strings.ToUpper(line), "\r; ") == end {
					break
				}
			}
		}
	}
	return rest
}

// cutStatement cuts a script at its delimiter, outside of quotes.
func cutStatement(text, delimiter string) (statement, rest string) {
	var quote byte
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\' && quote != '`':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"' || c == '`':
			quote = c
		case strings.HasPrefix(text[i:], delimiter):
			return strings.TrimSpace(text[:i]), text[i+len(delimiter):]
		}
	}
	return strings.TrimSpace(text), ""
}

package myfacts

import "github.com/sallyport-proxy/sallyport/sqlpolicy/facts"

// piece is one statement of a text: its bytes and its tokens.
type piece struct {
	from, to    int // bytes, without blanks around and without its semicolon
	first, last int // tokens, half-open
}

// split cuts a text at the semicolons at which the server cuts it. A
// compound statement keeps its own.
func split(l *lexed) ([]piece, error) {
	var out []piece
	for first := 0; first < len(l.tokens); {
		last := first
		for last < len(l.tokens) && !l.punct(last, ';') {
			last++
		}
		if first == last {
			if last+1 < len(l.tokens) || len(out) == 0 {
				return nil, emptyQuery(l.tokens[first].from)
			}
			break // a semicolon at the end of the text
		}
		if begin := compoundBody(l, first, last); begin >= 0 {
			end, err := compoundEnd(l, begin)
			if err != nil {
				return nil, err
			}
			last = end
		}
		out = append(out, piece{from: l.tokens[first].from, to: l.tokens[last-1].to, first: first, last: last})
		first = last + 1
	}
	if len(out) == 0 {
		return nil, emptyQuery(-1)
	}
	return out, nil
}

func emptyQuery(at int) *facts.Problem {
	return &facts.Problem{Code: "1065", At: at, Message: "Query was empty"}
}

// bodyWords may stand between a routine's name and its BEGIN.
var bodyWords = wordSet(`DEFINER CURRENT_USER CURRENT_ROLE OR REPLACE IF NOT EXISTS AGGREGATE PROCEDURE FUNCTION TRIGGER EVENT COMMENT LANGUAGE SQL
	DETERMINISTIC CONTAINS NO READS MODIFIES DATA SECURITY INVOKER RETURNS FOR EACH ROW BEFORE AFTER INSERT UPDATE DELETE ON FOLLOWS PRECEDES
	SCHEDULE AT EVERY STARTS ENDS COMPLETION PRESERVE ENABLE DISABLE DO CREATE SECOND MINUTE HOUR DAY WEEK MONTH QUARTER YEAR CURRENT_TIMESTAMP
	INTERVAL CHARSET CHARACTER SET COLLATE UNSIGNED SIGNED`)

// compoundBody finds the BEGIN of a compound statement's body, -1 where the
// statement is none: BEGIN NOT ATOMIC, or CREATE of a routine, a trigger or an
// event. Only words that cannot begin a statement of their own may stand
// before it, so that a BEGIN within a single statement is not taken for one.
func compoundBody(l *lexed, first, last int) int {
	if l.word(first) == "BEGIN" && l.word(first+1) == "NOT" && l.word(first+2) == "ATOMIC" {
		return first
	}
	if l.word(first) != "CREATE" {
		return -1
	}
	routine := false
	for i := first; i < last; i++ {
		w := l.word(i)
		switch {
		case w == "BEGIN" && routine && l.tokens[i].depth == 0:
			return i
		case w == "PROCEDURE" || w == "FUNCTION" || w == "TRIGGER" || w == "EVENT":
			routine = true
		case w == "SELECT" || w == "SET" && l.word(i-1) != "CHARACTER" || w == "CALL" || w == "RETURN" || w == "WITH" || w == "TABLE" || w == "VIEW" || w == "AS":
			return -1
		case w == "INSERT" || w == "UPDATE" || w == "DELETE":
			if p := l.word(i - 1); p != "BEFORE" && p != "AFTER" {
				return -1
			}
		}
	}
	return -1
}

// compoundEnd finds where a compound statement ends, and refuses one that
// could end elsewhere than at the end of the text.
func compoundEnd(l *lexed, begin int) (int, error) {
	unsure := func(i int) error {
		return &facts.Problem{Code: "0A000", At: l.tokens[min(i, len(l.tokens)-1)].from, Message: "where this compound statement ends is not understood here",
			Hint: "Send it as a text of its own, without words such as BEGIN and END as names."}
	}
	for i := begin - 1; i > 0 && l.tokens[i].depth == 0; i-- {
		// What stands before is a header, not a statement: its words are known,
		// or are names and types.
		if l.tokens[i].kind == tokWord && !bodyWords[l.word(i)] && chainsStatement[l.word(i)] {
			return 0, unsure(i)
		}
	}
	var open []string
	for i := begin; i < len(l.tokens); i++ {
		switch w := l.word(i); w {
		case "BEGIN":
			if i > begin && !l.punct(i-1, ';') && !l.punct(i-1, ':') && !opensBlock[l.word(i-1)] {
				return 0, unsure(i)
			}
			open = append(open, w)
		case "CASE":
			if l.word(i-1) != "END" {
				open = append(open, w)
			}
		case "END":
			switch l.word(i + 1) {
			case "IF", "LOOP", "WHILE", "REPEAT", "FOR":
				i++
				continue
			}
			open = open[:len(open)-1]
			if len(open) > 0 {
				continue
			}
			end := i + 1
			if end < len(l.tokens) && (l.tokens[end].kind == tokWord || l.tokens[end].kind == tokQuoted) {
				end++ // its label
			}
			if end < len(l.tokens) && !(l.punct(end, ';') && end+1 == len(l.tokens)) {
				return 0, unsure(end)
			}
			return end, nil
		}
	}
	return 0, unsure(begin)
}

var (
	opensBlock      = wordSet("BEGIN THEN ELSE DO LOOP REPEAT HANDLER")
	chainsStatement = wordSet("SELECT INSERT UPDATE DELETE REPLACE CALL RETURN WITH VALUES ALTER DROP GRANT REVOKE TRUNCATE LOAD EXECUTE PREPARE DECLARE IF WHILE LOOP REPEAT")
)

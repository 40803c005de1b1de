package mask

import "bytes"

// form is a built-in form of values.
type form struct {
	name   string
	starts func(c byte) bool // can begin with c
	// match says whether a value begins at b[i] and where it ends. It looks
	// at b[i-2], b[i-1] and at most maxHeld bytes ahead. Without eof, reaching the
	// end of b before it is sure is "more".
	match func(b []byte, i int, eof bool) (end int, s state)
}

// maxHeld is how far ahead a built-in form ever looks, in bytes: the longest
// key that is told whole.
const maxHeld = 16 << 10

var forms = []form{
	{"email", func(c byte) bool { return isLocal(c) || c >= 0x80 }, matchEmail},
	{"card", isDigit, matchCard},
	{"iban", isLetter, matchIBAN},
	{"phone", func(c byte) bool { return isDigit(c) || c == '+' || c == '(' }, matchPhone},
	{"ssn", isDigit, matchSSN},
	{"secret", func(c byte) bool { return secretStarts[c] }, matchSecret},
}

func isDigit(c byte) bool  { return c-'0' < 10 }
func isLetter(c byte) bool { return (c|0x20)-'a' < 26 }
func isAlnum(c byte) bool  { return isDigit(c) || isLetter(c) }
func isWord(c byte) bool   { return isAlnum(c) || c == '_' }

// before says whether the byte before b[i] is one of a set; there is none
// before the first.
func before(b []byte, i int, in func(byte) bool) bool { return i > 0 && in(b[i-1]) }

// isLocal says whether c can stand in the local part of an address as people
// write them (RFC 5322 §3.2.3 allows more).
func isLocal(c byte) bool {
	return isAlnum(c) || c == '.' || c == '_' || c == '-' || c == '+' || c == '%' || c == '\''
}

const (
	longestLocal  = 128 // RFC 5321 §4.5.3.1.1 has 64
	longestDomain = 254 // RFC 1035 §2.3.4
)

// matchEmail finds local@label.label, up to the last label that can be one.
// Letters of other scripts belong to addresses (RFC 6531); but since some are
// written without spaces, one also begins where ASCII does.
func matchEmail(b []byte, i int, eof bool) (int, state) {
	if before(b, i, isLocal) || b[i] >= 0x80 && before(b, i, func(c byte) bool { return c >= 0x80 }) {
		return 0, no
	}
	at := i
	for ; at < len(b) && (isLocal(b[at]) || b[at] >= 0x80); at++ {
		if at-i >= longestLocal {
			return 0, no
		}
	}
	if at == len(b) {
		return 0, wait(eof)
	}
	if b[at] != '@' {
		return 0, no
	}
	end, label := 0, at+1 // end of the domain so far, start of the label
	for j := at + 1; ; j++ {
		if j-at > longestDomain {
			break
		}
		if j < len(b) && (isAlnum(b[j]) || b[j] == '-' || b[j] == '_' || b[j] >= 0x80) {
			continue
		}
		if j == len(b) && !eof {
			return 0, more
		}
		if j == label {
			break
		}
		if label > at+1 && topLevel(b[label:j]) {
			end = j
		}
		if j == len(b) || b[j] != '.' {
			break
		}
		label = j + 1
	}
	if end == 0 {
		return 0, no
	}
	return end, yes
}

// topLevel says whether a label can end a domain: letters, or punycode.
func topLevel(label []byte) bool {
	label = bytes.TrimRight(label, "-_")
	return len(label) >= 2 && !isDigit(label[0]) && label[0] != '-'
}

func wait(eof bool) state {
	if eof {
		return no
	}
	return more
}

// digits reads a number written in groups: single separators of seps between
// digits. ends gets the place after each group and how many digits there are
// until there. It stops after most digits; ok is false where the text at hand
// ends first.
func digits(b []byte, i, most int, seps string, eof bool, ends *[40][2]int) (groups int, ok bool) {
	n := 0
	for j := i; ; {
		for ; j < len(b) && isDigit(b[j]); j++ {
			if n++; n > most {
				return groups, true
			}
		}
		if j == len(b) && !eof {
			return 0, false
		}
		ends[groups] = [2]int{j, n}
		groups++
		if j >= len(b) || bytes.IndexByte([]byte(seps), b[j]) < 0 {
			return groups, true
		}
		if j+1 == len(b) && !eof {
			return 0, false
		}
		if j+1 >= len(b) || !isDigit(b[j+1]) {
			return groups, true
		}
		j++
	}
}

// matchCard finds payment card numbers: 13 to 19 digits (ISO/IEC 7812-1) that
// begin like one of the schemes and satisfy Luhn's formula.
func matchCard(b []byte, i int, eof bool) (int, state) {
	if before(b, i, isDigit) || b[i] < '2' || b[i] > '6' {
		return 0, no
	}
	if i > 1 && b[i-1] == '.' && isDigit(b[i-2]) {
		return 0, no // the decimals of a number
	}
	var ends [40][2]int
	n, ok := digits(b, i, 19, " -", eof, &ends)
	if !ok {
		return 0, more
	}
	for k := n - 1; k >= 0; k-- {
		if ends[k][1] >= 13 && luhn(b[i:ends[k][0]]) {
			return ends[k][0], yes
		}
	}
	return 0, no
}

func luhn(b []byte) bool {
	sum, double := 0, false
	for k := len(b) - 1; k >= 0; k-- {
		if !isDigit(b[k]) {
			continue
		}
		d := int(b[k] - '0')
		if double {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum, double = sum+d, !double
	}
	return sum%10 == 0
}

// matchSSN finds what is written as a US social security or taxpayer number:
// 3-2-4 digits, no part all zeros, not 666.
func matchSSN(b []byte, i int, eof bool) (int, state) {
	if before(b, i, isAlnum) {
		return 0, no
	}
	const shape = "ddd-dd-dddd"
	for k := range len(shape) {
		if i+k == len(b) {
			return 0, wait(eof)
		}
		c := b[i+k]
		if shape[k] == 'd' && !isDigit(c) || shape[k] == '-' && (c != '-' && c != ' ' || k == 6 && c != b[i+3]) {
			return 0, no
		}
	}
	end := i + len(shape)
	if end == len(b) && !eof {
		return 0, more
	}
	area, group, serial := string(b[i:i+3]), string(b[i+4:i+6]), string(b[i+7:end])
	if end < len(b) && isAlnum(b[end]) || area == "000" || area == "666" || group == "00" || serial == "0000" {
		return 0, no
	}
	return end, yes
}

// matchPhone finds telephone numbers: international ones (ITU-T E.164, after
// + or 00) and North American ones written in groups.
func matchPhone(b []byte, i int, eof bool) (int, state) {
	if before(b, i, isAlnum) || before(b, i, func(c byte) bool { return c == '+' }) {
		return 0, no
	}
	switch {
	case b[i] == '+':
		return international(b, i+1, 8, eof)
	case b[i] == '0':
		if i+2 >= len(b) {
			return 0, wait(eof)
		}
		if b[i+1] != '0' || b[i+2] == '0' || !isDigit(b[i+2]) {
			return 0, no
		}
		return international(b, i+2, 10, eof)
	}
	return northAmerican(b, i, eof)
}

// international reads up to 15 digits after the prefix, in groups that spaces,
// hyphens, dots, slashes and brackets separate.
func international(b []byte, i, least int, eof bool) (int, state) {
	n, end, gap := 0, 0, 0
	for j := i; ; j++ {
		if j == len(b) {
			if !eof {
				return 0, more
			}
			break
		}
		c := b[j]
		if isDigit(c) {
			if n == 0 && c == '0' || n == 15 {
				break
			}
			n, gap, end = n+1, 0, j+1
			continue
		}
		if gap++; n == 0 || gap > 3 || c != ' ' && c != '-' && c != '.' && c != '/' && c != '(' && c != ')' {
			break
		}
	}
	if n < least {
		return 0, no
	}
	return end, yes
}

// northAmerican reads [1 ](ddd) ddd-dddd and ddd-ddd-dddd, also with dots or
// spaces. Area and exchange begin with 2 to 9.
func northAmerican(b []byte, i int, eof bool) (int, state) {
	short := false
	at := func(j int) byte {
		if j < len(b) {
			return b[j]
		}
		short = true
		return 0
	}
	j := i
	if at(j) == '1' {
		if c := at(j + 1); c != '-' && c != '.' && c != ' ' {
			return 0, either(short, eof)
		}
		j += 2
	}
	bracket := at(j) == '('
	if bracket {
		j++
	}
	group := func(n int) bool {
		for k := range n {
			if !isDigit(at(j + k)) {
				return false
			}
		}
		j += n
		return true
	}
	if c := at(j); c < '2' || c > '9' || !group(3) {
		return 0, either(short, eof)
	}
	sep := at(j)
	switch {
	case bracket && sep == ')':
		if j++; at(j) == ' ' {
			j++
		}
		sep = 0
	case bracket || sep != '-' && sep != '.' && sep != ' ':
		return 0, either(short, eof)
	default:
		j++
	}
	if c := at(j); c < '2' || c > '9' || !group(3) {
		return 0, either(short, eof)
	}
	if c := at(j); sep == 0 && (c == '-' || c == '.' || c == ' ') || sep != 0 && c == sep {
		j++
	} else {
		return 0, either(short, eof)
	}
	if !group(4) {
		return 0, either(short, eof)
	}
	if j == len(b) && !eof {
		return 0, more
	}
	if j < len(b) && isAlnum(b[j]) {
		return 0, no
	}
	return j, yes
}

func either(short, eof bool) state {
	if short && !eof {
		return more
	}
	return no
}

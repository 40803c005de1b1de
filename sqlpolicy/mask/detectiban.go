package mask

// matchIBAN finds international bank account numbers: the country's length,
// with or without single spaces, and ISO 7064's mod 97-10 (ISO 13616-1).
func matchIBAN(b []byte, i int, eof bool) (int, state) {
	if before(b, i, isAlnum) {
		return 0, no
	}
	var v [34]byte
	n, length := 0, 4
	j := i
	for ; n < length; j++ {
		if j == len(b) {
			return 0, wait(eof)
		}
		c := b[j]
		if c == ' ' && n > 1 && n%4 == 0 && b[j-1] != ' ' {
			continue
		}
		if !isAlnum(c) || n < 2 && !isLetter(c) || n >= 2 && n < 4 && !isDigit(c) {
			return 0, no
		}
		if isLetter(c) {
			c &^= 0x20
		}
		v[n] = c
		if n++; n == 2 {
			if length = ibanLength[string(v[:2])]; length == 0 {
				return 0, no
			}
		}
	}
	if j == len(b) && !eof {
		return 0, more
	}
	if j < len(b) && isAlnum(b[j]) || mod97(v[:n]) != 1 {
		return 0, no
	}
	return j, yes
}

// mod97 reads the number as ISO 13616-1 does: the first four characters last,
// letters as 10 to 35.
func mod97(v []byte) int {
	r := 0
	for k := range v {
		c := v[(k+4)%len(v)]
		if isDigit(c) {
			r = (r*10 + int(c-'0')) % 97
		} else {
			r = (r*100 + int(c-'A') + 10) % 97
		}
	}
	return r
}

// ibanLength is by country, from SWIFT's IBAN registry.
var ibanLength = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28,
	"CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
	"FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28,
	"IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
	"LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28,
	"NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24,
	"SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26,
	"UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}

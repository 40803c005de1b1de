package mysql

import "slices"

// Capabilities of a connection.
//
// Source: https://dev.mysql.com/doc/dev/mysql-server/latest/group__group__cs__capabilities__flags.html.
const (
	capLongPassword     = 1 << 0 // MariaDB: unset where its own capabilities follow
	capFoundRows        = 1 << 1
	capLongFlag         = 1 << 2
	capConnectWithDB    = 1 << 3
	capLocalFiles       = 1 << 7
	capIgnoreSpace      = 1 << 8
	capProtocol41       = 1 << 9
	capInteractive      = 1 << 10
	capSSL              = 1 << 11
	capTransactions     = 1 << 13
	capSecureConnection = 1 << 15
	capMultiStatements  = 1 << 16
	capMultiResults     = 1 << 17
	capPSMultiResults   = 1 << 18
	capPluginAuth       = 1 << 19
	capConnectAttrs     = 1 << 20
	capAuthLenenc       = 1 << 21
	capSessionTrack     = 1 << 23
	capDeprecateEOF     = 1 << 24
	capQueryAttributes  = 1 << 27
)

// passed are the client's capabilities that the upstream gets too: they change
// what it does. Compression, MariaDB's own and expired passwords are not
// offered.
const passed = capFoundRows | capLocalFiles | capIgnoreSpace | capInteractive | capMultiStatements | capMultiResults | capPSMultiResults | capConnectAttrs | capQueryAttributes

// offered are what clients are told of.
const offered = passed | capLongPassword | capLongFlag | capConnectWithDB | capProtocol41 | capTransactions | capSecureConnection | capPluginAuth | capAuthLenenc | capSessionTrack | capDeprecateEOF

// Flags of a server's status.
const (
	statusInTransaction  = 1 << 0
	statusAutocommit     = 1 << 1
	statusMoreResults    = 1 << 3
	statusCursor         = 1 << 6
	statusLastRow        = 1 << 7
	statusSessionChanged = 1 << 14
	statusOfPlan         = 1<<4 | 1<<5 | 1<<11 // no good index used, no index used, query was slow
)

// Commands.
const (
	comQuit            = 0x01
	comInitDB          = 0x02
	comQuery           = 0x03
	comFieldList       = 0x04
	comStatistics      = 0x09
	comProcessKill     = 0x0c
	comPing            = 0x0e
	comChangeUser      = 0x11
	comStmtPrepare     = 0x16
	comStmtExecute     = 0x17
	comStmtLongData    = 0x18
	comStmtClose       = 0x19
	comStmtReset       = 0x1a
	comSetOption       = 0x1b
	comStmtFetch       = 0x1c
	comResetConnection = 0x1f
)

// First bytes of answers.
const (
	headOK    = 0x00
	headMore  = 0x01
	headLocal = 0xfb
	headEOF   = 0xfe
	headErr   = 0xff
)

// Types of columns and parameters.
const (
	typeDecimal    = 0
	typeTiny       = 1
	typeShort      = 2
	typeLong       = 3
	typeFloat      = 4
	typeDouble     = 5
	typeNull       = 6
	typeTimestamp  = 7
	typeLongLong   = 8
	typeInt24      = 9
	typeDate       = 10
	typeTime       = 11
	typeDatetime   = 12
	typeYear       = 13
	typeVarchar    = 15
	typeBit        = 16
	typeJSON       = 245
	typeNewDecimal = 246
	typeEnum       = 247
	typeSet        = 248
	typeTinyBlob   = 249
	typeBlob       = 252
	typeVarString  = 253
	typeString     = 254
	typeGeometry   = 255
)

// Flags of columns.
const (
	flagNotNull  = 1 << 0
	flagUnsigned = 1 << 5
	flagEnum     = 1 << 8
	flagSet      = 1 << 11
)

const (
	pluginNative  = "mysql_native_password"
	pluginSHA2    = "caching_sha2_password"
	pluginClear   = "mysql_clear_password"
	pluginEd25519 = "client_ed25519"
)

// collationBinary is the collation that columns of bytes have.
const collationBinary = 63

// mixesASCII says that in the collation's character set a byte of ASCII can be
// the second one of another character, so that a quote may not be one: big5,
// sjis, gbk, cp932 and gb18030.
func mixesASCII(collation int) bool {
	return slices.Contains([]int{1, 84, 13, 88, 28, 87, 95, 96, 248, 249, 250}, collation%1024)
}

// unsafeCharsets are the same by name.
var unsafeCharsets = []string{"big5", "sjis", "gbk", "cp932", "gb18030"}

// wideCollation says that every character takes two bytes or more: ucs2,
// utf16, utf16le and utf32.
func wideCollation(id uint16) bool {
	n := id % 1024
	switch {
	case n == 35, n == 90, n >= 128 && n <= 151, n == 159, // ucs2
		n == 54, n == 55, n >= 101 && n <= 124, n == 56, n == 62, // utf16, utf16le
		n == 60, n == 61, n >= 160 && n <= 183: // utf32
		return true
	}
	return id >= 2048 // MariaDB's UCA 14 collations of any character set
}

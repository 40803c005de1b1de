package rerun

import (
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/facts"
)

// TestMySQLArgument: parameters are bound in the type that they were recorded in, and as text where they do not fit it.
func TestMySQLArgument(t *testing.T) {
	for _, x := range []struct {
		typ, text string
		want      any
	}{
		{"tinyint", "-128", int8(-128)}, {"tinyint", "255", uint8(255)}, {"smallint", "65535", uint16(65535)}, {"int", "-1", int32(-1)},
		{"mediumint", "4294967295", uint32(4294967295)}, {"bigint", "-9223372036854775808", int64(-1 << 63)}, {"bigint", "18446744073709551615", uint64(1<<64 - 1)},
		{"float", "0.1", float32(0.1)}, {"double", "1e+300", 1e300},
		{"double", "much", mysql.TypedBytes{Type: mysql.MYSQL_TYPE_VAR_STRING, Bytes: []byte("much")}},
		{"varchar", "Łucja", mysql.TypedBytes{Type: mysql.MYSQL_TYPE_VAR_STRING, Bytes: []byte("Łucja")}},
		{"blob", "0x00ff", mysql.TypedBytes{Type: mysql.MYSQL_TYPE_BLOB, Bytes: []byte{0, 0xff}}},
		{"blob", "0x41", mysql.TypedBytes{Type: mysql.MYSQL_TYPE_BLOB, Bytes: []byte("0x41")}}, // bytes that are text are recorded as such
		{"date", "2026-11-25", mysql.TypedBytes{Type: mysql.MYSQL_TYPE_DATE, Bytes: []byte{0xea, 7, 11, 25}}},
		{"datetime", "2026-11-25 01:02:03", mysql.TypedBytes{Type: mysql.MYSQL_TYPE_DATETIME, Bytes: []byte{0xea, 7, 11, 25, 1, 2, 3}}},
		{"timestamp", "2026-11-25 01:02:03.000256", mysql.TypedBytes{Type: mysql.MYSQL_TYPE_TIMESTAMP, Bytes: []byte{0xea, 7, 11, 25, 1, 2, 3, 0, 1, 0, 0}}},
		{"datetime", "0000-00-00 00:00:00", mysql.TypedBytes{Type: mysql.MYSQL_TYPE_VAR_STRING, Bytes: []byte("0000-00-00 00:00:00")}},
		{"time", "-25:02:03.5", mysql.TypedBytes{Type: mysql.MYSQL_TYPE_TIME, Bytes: []byte{1, 1, 0, 0, 0, 1, 2, 3, 0x20, 0xa1, 7, 0}}},
		{"time", "12:00", mysql.TypedBytes{Type: mysql.MYSQL_TYPE_VAR_STRING, Bytes: []byte("12:00")}},
	} {
		if got := mysqlArgument(facts.Param{Known: true, Type: x.typ, Text: x.text}); !cmp.Equal(got, x.want) {
			t.Errorf("%s %s: %T %v, want %T %v", x.typ, x.text, got, got, x.want, x.want)
		}
	}
	if got := mysqlArgument(facts.Param{Null: true, Type: "int"}); got != nil {
		t.Errorf("NULL: %v", got)
	}
}

// TestMySQLTarget: no password crosses in the clear, whatever a target's URL says.
func TestMySQLTarget(t *testing.T) {
	t.Setenv("MYSQL_PWD", "from-the-environment")
	for target, plain := range map[string]bool{
		"mysql://me@127.0.0.1/shop": true, "mysql://me@localhost:3307/shop?tls=disable": true, "mysql://me@[::1]/shop": true,
		"mysql://me@db.internal/shop": false, "mysql://me@127.0.0.1/shop?tls=require": false, "mariadb://me@10.1.1.1/shop?tls=verify-ca": false,
	} {
		got, err := parseMySQLTarget(target)
		if err != nil || (got.tls == nil) != plain || got.user != "me" || got.password != "from-the-environment" || got.database != "shop" {
			t.Errorf("%s: %+v, %v", target, got, err)
		}
	}
	for _, target := range []string{
		"mysql://me@db.internal/shop?tls=disable", "mysql://db.internal/shop", "mysql://me@db.internal", "postgres://me@127.0.0.1/shop", "host=127.0.0.1",
		"mysql://me@127.0.0.1/shop?tls=never", "mysql://me@127.0.0.1/shop?sslmode=disable", "mysql://me@db/shop?ca=/there/is/none", "mysql://me:%zz@db/shop",
	} {
		if got, err := parseMySQLTarget(target); err == nil {
			t.Errorf("%s is taken: %+v", target, got)
		}
	}
}

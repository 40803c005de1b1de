package myfacts

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sallyport-proxy/sallyport/sqlpolicy/catalog"
)

// goldenCatalog is what MariaDB 10.11 says of the schema of
// testdata/noninterference/mysql.
var goldenCatalog = sync.OnceValues(func() (*catalog.Catalog, error) {
	f, err := os.Open(filepath.Join("testdata", "catalog.json.gz"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	c := &catalog.Catalog{}
	if err := json.NewDecoder(z).Decode(c); err != nil {
		return nil, err
	}
	return c.Index(), nil
})

func goldenView(t testing.TB) *catalog.View {
	t.Helper()
	c, err := goldenCatalog()
	if err != nil {
		t.Fatalf("reading the golden catalog: %v", err)
	}
	return &catalog.View{Catalog: c, SearchPath: []string{"shop"}, Role: "app@localhost", Settings: catalog.NewSettings(map[string]string{
		"sql_mode": "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION", "character_set_client": "utf8mb4",
		"character_set_connection": "utf8mb4", "character_set_results": "utf8mb4", "collation_connection": "utf8mb4_general_ci",
		"autocommit": "1", "lower_case_table_names": "0", "diagnostics": "",
	})}
}

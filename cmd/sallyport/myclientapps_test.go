package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// TestMySQLClients is TestClients for MySQL's wire.
func TestMySQLClients(t *testing.T) {
	dir := filepath.Join("..", "..", "testdata", "noninterference", "mysql")
	s := mariaTwin(t, "", dir, "a.sql")
	plain, guarded := startMySQLPair(t, s, permissive), startMySQLTLS(t, s, readFile(t, filepath.Join(dir, "policy.yaml")))
	hibernate := map[string]string{"hibernate orm": "orm", "hibernate unique": "orm", "hibernate masked": "masked", "hibernate refused": "refused"}
	clientMatrix{
		test:    "TestMySQLClients",
		steps:   []string{"connect", "introspect", "transact", "prepare", "results", "cancel", "stream", "error", "types", "orm", "masked", "refused", "local", "tls"},
		refusal: "1227",
		apps: []clientApp{
			{name: "PyMySQL", version: "1.2.4", command: pythonApp("pymysql_app.py")},
			{name: "SQLAlchemy", version: "2.1.9 on PyMySQL", command: pythonApp("sqlalchemy_mysql_app.py")},
			{name: "mysql2", version: "3.24.5", command: nodeApp("mysql2_app.cjs")},
			{name: "MariaDB Connector/J and Hibernate", version: "3.5.11 and 7.4.15", command: javaApp("MyApp", "mariadb"), maps: hibernate},
			{name: "MySQL Connector/J and Hibernate", version: "9.7.0 and 7.4.15", command: javaApp("MyApp", "mysql"), maps: hibernate},
			{name: "sysbench", version: "1.0.20, prepared statements and texts of values", scenario: sysbenchScenario},
		},
	}.run(t, plain, guarded)
}

func mysqlEnv(host string, port int, user, password string) []string {
	return append(os.Environ(), "MYSQL_HOST="+host, fmt.Sprintf("MYSQL_PORT=%d", port), "MYSQL_USER="+user, "MYSQL_PASSWORD="+password, "MYSQL_DATABASE=shop")
}

// startMySQLPair is a server direct and through the proxy.
func startMySQLPair(t *testing.T, s *throwaway.Server, policy string) clientPair {
	t.Helper()
	port := freePort(t)
	startProxy(t, policy, target{name: "shop", protocol: "mysql", port: port, password: s.Password, upstream: fmt.Sprintf("mysql://root@%s/shop?tls=disable", s.Address())})
	return clientPair{server: s, direct: mysqlEnv(s.Host, s.Port, "root", s.Password), proxy: mysqlEnv("127.0.0.1", port, "ana", "ana-secret")}
}

// startMySQLTLS starts a proxy that takes TLS only and returns a client's environment for it.
func startMySQLTLS(t *testing.T, s *throwaway.Server, policy string) []string {
	t.Helper()
	port := freePort(t)
	p := writeProxy(t, policy, target{name: "shop", protocol: "mysql", port: port, password: s.Password, upstream: fmt.Sprintf("mysql://root@%s/shop?tls=disable", s.Address())})
	ca := writeCertificate(t, p.dir, "localhost")
	p.write(t, "sallyport.yaml", strings.Replace(readFile(t, p.config), "tls: {mode: disable}", "tls: {mode: require, cert: cert.pem, key: key.pem}", 1))
	p.serve(t)
	return append(mysqlEnv("localhost", port, "ana", "ana-secret"), "MYSQL_CA="+ca)
}

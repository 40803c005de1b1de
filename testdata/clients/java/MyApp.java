import java.io.*;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.sql.*;
import java.util.*;
import java.util.concurrent.Callable;
import java.util.logging.Level;
import java.util.logging.Logger;

import jakarta.persistence.*;
import org.hibernate.SessionFactory;
import org.hibernate.cfg.Configuration;

/** MariaDB's and MySQL's Connector/J and Hibernate. Arguments: mariadb or mysql, then plain, or policy (see ../scenario.py). */
public class MyApp {
    static final String[] BAD = {"SELECT * FROM nowhere", "SELECT nope FROM products", "SELEC", "INSERT INTO products (id) VALUES (1)"};
    static final String NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i FROM n";
    static String driver;

    public static void main(String[] args) throws Exception {
        Logger.getLogger("").setLevel(Level.SEVERE);
        driver = args[0];
        boolean policy = args[1].equals("policy");
        try (Connection c = open(policy, "")) {
            if (policy) {
                policy(c);
            } else {
                jdbc(c);
            }
        }
        hibernate(policy);
    }

    static String url(boolean policy, String more) {
        Map<String, String> env = System.getenv();
        String tls = !policy ? (driver.equals("mysql") ? "sslMode=DISABLED&allowPublicKeyRetrieval=true" : "sslMode=disable")
            : driver.equals("mysql") ? "sslMode=VERIFY_IDENTITY&trustCertificateKeyStoreType=PKCS12&trustCertificateKeyStorePassword=changeit&trustCertificateKeyStoreUrl=file:" + keyStore(env.get("MYSQL_CA"))
            : "sslMode=verify-full&serverSslCert=" + env.get("MYSQL_CA");
        return "jdbc:" + driver + "://" + env.get("MYSQL_HOST") + ":" + env.get("MYSQL_PORT") + "/" + env.get("MYSQL_DATABASE") + "?" + tls + more;
    }

    /** A key store with the authority in it: MySQL's driver takes no PEM. */
    static String keyStore(String ca) {
        try (InputStream in = new FileInputStream(ca)) {
            KeyStore s = KeyStore.getInstance("PKCS12");
            s.load(null, null);
            s.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
            try (OutputStream out = new FileOutputStream(ca + ".p12")) {
                s.store(out, "changeit".toCharArray());
            }
            return ca + ".p12";
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    static Connection open(boolean policy, String more) throws SQLException {
        return DriverManager.getConnection(url(policy, more), System.getenv("MYSQL_USER"), System.getenv("MYSQL_PASSWORD"));
    }

    static void step(String name, Callable<Object> f) {
        try {
            System.out.println(name + ": " + f.call());
        } catch (Throwable e) {
            e.printStackTrace();
            System.out.println(name + ": FAILED " + e);
        }
    }

    static Object one(Connection c, String q, Object... params) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(q)) {
            for (int i = 0; i < params.length; i++) {
                s.setObject(i + 1, params[i]);
            }
            if (!s.execute()) {
                return s.getUpdateCount();
            }
            try (ResultSet r = s.getResultSet()) {
                return r.next() ? r.getString(1) : null;
            }
        }
    }

    static String state(Connection c, String q) {
        try (Statement s = c.createStatement()) {
            s.execute(q);
            return "none";
        } catch (SQLException e) {
            if (e.getErrorCode() == 1054 || e.getErrorCode() == 1064) { // whose texts are the proxy's own
                return e.getErrorCode() + " " + e.getSQLState();
            }
            return e.getErrorCode() + " " + e.getSQLState() + " " + e.getMessage().replaceAll("\\(conn=\\d+\\)", "(conn)");
        }
    }

    static final String SERVER_SIDE = "&useServerPrepStmts=true&cachePrepStmts=true";

    static void policy(Connection c) {
        step("masked", () -> {
            List<Object> out = new ArrayList<>();
            try (Connection binary = open(true, SERVER_SIDE)) {
                for (Connection x : List.of(c, binary, binary)) {
                    out.add(one(x, "SELECT email FROM customers WHERE id = ?", 1));
                }
            }
            return out;
        });
        step("refused", () -> {
            c.setAutoCommit(false);
            one(c, "INSERT INTO scratch (id, a) VALUES (8003, 'kept')");
            String first = state(c, "SELECT id FROM customers WHERE ssn = '1'").substring(0, 10);
            Object kept = one(c, "SELECT a FROM scratch WHERE id = 8003");
            c.rollback();
            c.setAutoCommit(true);
            return first + " " + kept;
        });
        step("local", () -> {
            try (Connection l = open(true, driver.equals("mysql") ? "&allowLoadLocalInfile=true" : "&allowLocalInfile=true")) {
                return state(l, "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE scratch").substring(0, 4);
            }
        });
        step("tls", () -> one(c, "SELECT 'the certificate is verified'"));
    }

    static void jdbc(Connection c) {
        step("connect", () -> c.getMetaData().getDatabaseProductVersion() + " " + c.isValid(5) + " " + c.getCatalog());
        step("introspect", () -> introspect(c.getMetaData()));
        step("transact", () -> {
            c.setAutoCommit(false);
            List<Object> out = new ArrayList<>();
            try (PreparedStatement s = c.prepareStatement("INSERT INTO products (title, price) VALUES (?, ?)", Statement.RETURN_GENERATED_KEYS)) {
                for (int i = 0; i < 3; i++) {
                    s.setString(1, "batch " + i);
                    s.setBigDecimal(2, new java.math.BigDecimal("1.5"));
                    s.addBatch();
                }
                out.add(Arrays.toString(s.executeBatch()));
                try (ResultSet r = s.getGeneratedKeys()) {
                    int n = 0;
                    while (r.next()) {
                        n++;
                    }
                    out.add(n);
                }
            }
            Savepoint p = c.setSavepoint();
            out.add(one(c, "DELETE FROM products WHERE title LIKE 'batch%'"));
            c.rollback(p);
            out.add(one(c, "SELECT COUNT(*) FROM products WHERE title LIKE 'batch%'"));
            c.rollback();
            out.add(one(c, "SELECT COUNT(*) FROM products WHERE title LIKE 'batch%'"));
            c.setAutoCommit(true);
            c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            out.add(c.getTransactionIsolation());
            c.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
            return out;
        });
        step("prepare", () -> {
            List<Object> out = new ArrayList<>();
            try (Connection b = open(false, SERVER_SIDE)) {
                try (PreparedStatement s = b.prepareStatement("SELECT title, price, image FROM products WHERE id = ?")) {
                    for (int i = 1; i < 4; i++) {
                        s.setInt(1, i);
                        try (ResultSet r = s.executeQuery()) {
                            r.next();
                            out.add(r.getString(1) + " " + r.getBigDecimal(2) + " " + Arrays.toString(r.getBytes(3)));
                        }
                    }
                    out.add(s.getParameterMetaData().getParameterCount() + " " + s.getMetaData().getColumnTypeName(2));
                }
                try (PreparedStatement s = b.prepareStatement("INSERT INTO products (title, price, image) VALUES ('long', 1, ?)")) {
                    byte[] big = new byte[40000];
                    s.setBinaryStream(1, new ByteArrayInputStream(big, 0, 40000), 40000);
                    out.add(s.executeUpdate());
                }
                out.add(one(b, "SELECT LENGTH(image) FROM products WHERE title = ?", "long"));
                out.add(one(b, "DELETE FROM products WHERE title = ?", "long"));
            }
            return out;
        });
        step("stream", () -> {
            long sum = 0;
            try (Connection s = open(false, SERVER_SIDE + (driver.equals("mysql") ? "&useCursorFetch=true" : ""))) {
                for (int size : new int[] {7, driver.equals("mysql") ? Integer.MIN_VALUE : 1}) {
                    try (PreparedStatement q = s.prepareStatement(NUMBERS)) {
                        q.setFetchSize(size);
                        try (ResultSet r = q.executeQuery()) {
                            while (r.next()) {
                                sum += r.getInt(1);
                            }
                        }
                    }
                }
            }
            return sum;
        });
        step("cancel", () -> {
            List<Object> out = new ArrayList<>();
            try (Connection sleeper = open(false, ""); Statement s = sleeper.createStatement()) {
                Thread t = new Thread(() -> {
                    try {
                        while (one(c, "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(30)%'") == null) {
                        }
                        s.cancel();
                    } catch (SQLException e) {
                        e.printStackTrace();
                    }
                });
                t.start();
                try {
                    s.executeQuery("SELECT SLEEP(30) FROM customers");
                    out.add("not cancelled");
                } catch (SQLException e) {
                    out.add(e.getErrorCode() + " " + e.getSQLState());
                }
                t.join();
                out.add(one(sleeper, "SELECT 'usable'"));
            }
            return out;
        });
        step("error", () -> {
            List<String> out = new ArrayList<>();
            for (String q : BAD) {
                out.add(state(c, q));
            }
            return out;
        });
        step("types", () -> {
            List<String> out = new ArrayList<>();
            try (Connection b = open(false, SERVER_SIDE)) {
                for (Connection x : List.of(c, b)) {
                    try (PreparedStatement s = x.prepareStatement("SELECT -5, 18446744073709551615, 1.50, 1.5e0, 'ł€𝄞', X'00ff', DATE '2026-01-02', TIMESTAMP '2026-01-02 03:04:05.000006', "
                            + "TIME '12:34:56', NULL, JSON_OBJECT('a', 1), b'101', image, price, stock FROM products WHERE id = 1"); ResultSet r = s.executeQuery()) {
                        r.next();
                        StringBuilder row = new StringBuilder();
                        for (int i = 1; i <= r.getMetaData().getColumnCount(); i++) {
                            Object v = r.getObject(i);
                            row.append(r.getMetaData().getColumnTypeName(i)).append('=').append(v instanceof byte[] y ? Arrays.toString(y) : String.valueOf(v)).append(' ');
                        }
                        out.add(row.toString());
                    }
                }
            }
            return out;
        });
    }

    static Object introspect(DatabaseMetaData m) throws SQLException {
        List<Object> out = new ArrayList<>();
        for (ResultSet r : List.of(m.getColumns("shop", null, "customers", null), m.getTables("shop", null, "%", new String[] {"TABLE", "VIEW"}), m.getPrimaryKeys("shop", null, "order_lines"),
                m.getImportedKeys("shop", null, "orders"), m.getExportedKeys("shop", null, "customers"), m.getIndexInfo("shop", null, "customers", false, true), m.getCatalogs(),
                m.getProcedures("shop", null, "%"), m.getFunctions("shop", null, "%"), m.getTypeInfo())) {
            StringBuilder b = new StringBuilder();
            int n = 0;
            while (r.next()) {
                n++;
                b.append(r.getString(1)).append('.').append(r.getString(Math.min(3, r.getMetaData().getColumnCount()))).append(' ');
            }
            out.add(n + " " + b);
        }
        return out;
    }

    @Entity @Table(name = "customers")
    public static class Customer {
        @Id public Integer id;
        public String name;
        public String email;
        public String ssn;
    }

    @Entity @Table(name = "hib_author")
    public static class Author {
        @Id @GeneratedValue(strategy = GenerationType.IDENTITY) public Long id;
        @Column(unique = true) public String name;
        @OneToMany(mappedBy = "author", cascade = CascadeType.ALL) @OrderBy("id") public List<Book> books = new ArrayList<>();
    }

    @Entity @Table(name = "hib_book")
    public static class Book {
        @Id @GeneratedValue(strategy = GenerationType.IDENTITY) public Long id;
        public String title;
        @Version public int version;
        @ManyToOne(fetch = FetchType.LAZY) public Author author;
    }

    static Object sqlState(Throwable t) {
        while (!(t instanceof SQLException) && t.getCause() != null) {
            t = t.getCause();
        }
        return ((SQLException) t).getErrorCode();
    }

    static void hibernate(boolean policy) {
        Configuration conf = new Configuration().addAnnotatedClass(Customer.class);
        if (!policy) {
            conf.addAnnotatedClass(Author.class).addAnnotatedClass(Book.class).setProperty("hibernate.hbm2ddl.auto", "create-drop")
                .setProperty("hibernate.hbm2ddl.schema_filter_provider", App.Filter.class.getName());
        }
        conf.setProperty("hibernate.connection.url", url(policy, "")).setProperty("hibernate.connection.username", System.getenv("MYSQL_USER"))
            .setProperty("hibernate.connection.password", System.getenv("MYSQL_PASSWORD")).setProperty("hibernate.connection.pool_size", "2");
        try (SessionFactory f = conf.buildSessionFactory()) {
            if (policy) {
                step("hibernate masked", () -> f.fromSession(s -> s.find(Customer.class, 1).email));
                step("hibernate refused", () -> f.fromSession(s -> {
                    try {
                        return s.createQuery("from MyApp$Customer where ssn = '1'", Customer.class).list().size();
                    } catch (Exception e) {
                        return sqlState(e);
                    }
                }));
                return;
            }
            step("hibernate orm", () -> f.fromTransaction(s -> {
                Author a = new Author();
                a.name = "Ana";
                for (String t : List.of("One", "Two")) {
                    Book b = new Book();
                    b.title = t;
                    b.author = a;
                    a.books.add(b);
                }
                s.persist(a);
                s.flush();
                a.books.get(0).title = "Uno";
                s.flush();
                s.clear();
                return s.createQuery("select concat(b.title, ' ', cast(b.version as string), ' ', b.author.name) from MyApp$Book b order by b.id", String.class).list();
            }));
            step("hibernate unique", () -> {
                try {
                    f.inTransaction(s -> {
                        Author a = new Author();
                        a.name = "Ana";
                        s.persist(a);
                    });
                    return "none";
                } catch (Exception e) {
                    return sqlState(e);
                }
            });
        }
    }
}

import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.*;
import java.util.concurrent.Callable;
import java.util.logging.Level;
import java.util.logging.Logger;

import jakarta.persistence.*;
import org.hibernate.Session;
import org.hibernate.SessionFactory;
import org.hibernate.cfg.Configuration;
import org.postgresql.PGConnection;

/** pgjdbc and Hibernate. Lines "step: what was seen"; the argument is plain, or policy (see ../scenario.py). */
public class App {
    static final String[] BAD = {"SELECT * FROM nowhere", "SELECT nope FROM products", "SELEC", "INSERT INTO products (id) VALUES (1)"};

    public static void main(String[] args) throws Exception {
        Logger.getLogger("").setLevel(Level.SEVERE);
        boolean policy = args[0].equals("policy");
        Map<String, String> env = System.getenv();
        String url = "jdbc:postgresql://localhost:" + env.get("PGPORT") + "/" + env.get("PGDATABASE") + "?sslmode=" + env.get("PGSSLMODE")
            + (policy ? "&channelBinding=require&sslrootcert=" + env.get("PGSSLROOTCERT") : "");
        try (Connection c = DriverManager.getConnection(url, env.get("PGUSER"), env.get("PGPASSWORD"))) {
            if (policy) {
                policy(c);
            } else {
                jdbc(c, url);
            }
        }
        hibernate(url, policy);
    }

    static void step(String name, Callable<Object> f) {
        try {
            System.out.println(name + ": " + f.call());
        } catch (Exception e) {
            e.printStackTrace();
            System.out.println(name + ": FAILED " + e);
        }
    }

    static Object one(Connection c, String q, Object... params) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(q)) {
            for (int i = 0; i < params.length; i++) {
                s.setObject(i + 1, params[i]);
            }
            try (ResultSet r = s.executeQuery()) {
                return r.next() ? r.getString(1) : null;
            }
        }
    }

    static String state(Connection c, String q) {
        try (Statement s = c.createStatement()) {
            s.execute(q);
            return "none";
        } catch (SQLException e) {
            return e.getSQLState() + " " + e.getMessage();
        }
    }

    static void policy(Connection c) {
        step("masked", () -> {
            List<Object> out = new ArrayList<>();
            for (int i = 0; i < 7; i++) { // from the sixth on by a named statement, in binary where the type has it
                out.add(one(c, "SELECT email FROM customers WHERE id = ?", 1));
            }
            return out;
        });
        step("refused", () -> {
            c.setAutoCommit(false);
            String first = state(c, "SELECT id FROM customers WHERE ssn = '1'").substring(0, 5);
            String then = state(c, "SELECT 1").substring(0, 5);
            c.rollback();
            Object after = one(c, "SELECT 1");
            c.rollback();
            c.setAutoCommit(true);
            return first + " " + then + " " + after;
        });
        step("tls", () -> one(c, "SELECT 'channel binding required'"));
    }

    static void jdbc(Connection c, String url) {
        step("connect", () -> c.getMetaData().getDatabaseMajorVersion() > 14);
        step("introspect", () -> {
            List<String> out = new ArrayList<>();
            DatabaseMetaData m = c.getMetaData();
            try (ResultSet r = m.getColumns(null, "public", "customers", null)) {
                while (r.next()) {
                    out.add(r.getString("COLUMN_NAME") + " " + r.getString("TYPE_NAME") + " " + r.getInt("NULLABLE"));
                }
            }
            for (ResultSet r : List.of(m.getTables(null, "public", "%", new String[] {"TABLE", "VIEW"}), m.getPrimaryKeys(null, "public", "order_lines"),
                    m.getImportedKeys(null, "public", "orders"), m.getIndexInfo(null, "public", "customers", false, true), m.getSchemas(), m.getTypeInfo())) {
                int n = 0;
                while (r.next()) {
                    n++;
                }
                out.add(String.valueOf(n));
            }
            return out;
        });
        step("transact", () -> {
            c.setAutoCommit(false);
            one(c, "INSERT INTO scratch (id, a) VALUES (4001, 'x') RETURNING id");
            Savepoint s = c.setSavepoint();
            String e = state(c, "SELECT 1/0");
            c.rollback(s);
            Object n = one(c, "SELECT count(*) FROM scratch WHERE id = 4001");
            c.rollback();
            c.setAutoCommit(true);
            return e + " " + n + " " + one(c, "SELECT count(*) FROM scratch WHERE id = 4001");
        });
        step("prepare", () -> {
            List<Object> out = new ArrayList<>();
            try (PreparedStatement p = c.prepareStatement("SELECT title, price FROM products WHERE id = ?")) {
                for (int i = 0; i < 8; i++) {
                    p.setInt(1, i % 3 + 1);
                    try (ResultSet r = p.executeQuery()) {
                        r.next();
                        out.add(r.getString(1) + r.getBigDecimal(2));
                    }
                }
            }
            return out;
        });
        step("pipeline", () -> { // a batch is one pipeline
            try (PreparedStatement p = c.prepareStatement("INSERT INTO scratch (id, a) VALUES (?, ?)")) {
                for (int i = 0; i < 300; i++) {
                    p.setInt(1, 4100 + i);
                    p.setString(2, "b" + i);
                    p.addBatch();
                }
                int n = p.executeBatch().length;
                return n + " " + c.createStatement().executeUpdate("DELETE FROM scratch WHERE id >= 4100");
            }
        });
        step("cancel", () -> {
            try (Statement s = c.createStatement()) {
                s.setQueryTimeout(1);
                s.execute("SELECT pg_sleep(30)");
                return "not cancelled";
            } catch (SQLException e) {
                return e.getSQLState() + " " + one(c, "SELECT 1");
            }
        });
        step("copy", () -> {
            var m = c.unwrap(PGConnection.class).getCopyAPI();
            long in = m.copyIn("COPY scratch (id, a) FROM STDIN", new StringReader("4501\tone\n4502\t\\N\n"));
            StringWriter w = new StringWriter();
            long out = m.copyOut("COPY (SELECT id, a FROM scratch WHERE id > 4500 ORDER BY id) TO STDOUT CSV", w);
            String bad = "none";
            try {
                m.copyIn("COPY scratch (id, a) FROM STDIN", new StringReader("bad\n"));
            } catch (SQLException e) {
                bad = e.getSQLState();
            }
            return in + " " + out + " " + w.toString().replace("\n", "|") + " " + bad + " " + c.createStatement().executeUpdate("DELETE FROM scratch WHERE id > 4500");
        });
        step("stream", () -> {
            c.setAutoCommit(false);
            long total = 0;
            try (Statement s = c.createStatement()) {
                s.setFetchSize(7);
                try (ResultSet r = s.executeQuery("SELECT n FROM generate_series(1, 500) n")) {
                    while (r.next()) {
                        total += r.getInt(1);
                    }
                }
            }
            c.commit();
            c.setAutoCommit(true);
            return total;
        });
        step("listen", () -> {
            c.createStatement().execute("LISTEN news");
            try (Connection other = DriverManager.getConnection(url, System.getenv("PGUSER"), System.getenv("PGPASSWORD"))) {
                other.createStatement().execute("NOTIFY news, 'hello'");
            }
            var got = c.unwrap(PGConnection.class).getNotifications(5000);
            return got[0].getName() + " " + got[0].getParameter();
        });
        step("error", () -> {
            List<String> out = new ArrayList<>();
            for (String q : BAD) {
                out.add(state(c, q).replace("\n", " "));
            }
            return out;
        });
        step("types", () -> {
            List<String> out = new ArrayList<>();
            try (PreparedStatement p = c.prepareStatement("SELECT 1::int2, 2::int8, 1.5::numeric, '\\x00ff'::bytea, true, '2026-01-02'::date, '2026-01-02 03:04:05+00'::timestamptz, "
                    + "ARRAY[1,2,NULL], '{\"a\": [1]}'::jsonb, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '1 day'::interval, NULL::text, 3.5::float8, 'paid'::order_status")) {
                for (int i = 0; i < 7; i++) {
                    try (ResultSet r = p.executeQuery()) {
                        r.next();
                        StringBuilder b = new StringBuilder();
                        for (int col = 1; col <= r.getMetaData().getColumnCount(); col++) {
                            Object v = r.getObject(col);
                            b.append(r.getMetaData().getColumnTypeName(col)).append('=').append(v instanceof byte[] x ? Arrays.toString(x) : String.valueOf(v)).append(' ');
                        }
                        out.add(b.toString());
                    }
                }
            }
            return new LinkedHashSet<>(out);
        });
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
        @Id @GeneratedValue public Long id;
        @Column(unique = true) public String name;
        @OneToMany(mappedBy = "author", cascade = CascadeType.ALL) @OrderBy("id") public List<Book> books = new ArrayList<>();
    }

    @Entity @Table(name = "hib_book")
    public static class Book {
        @Id @GeneratedValue public Long id;
        public String title;
        @Version public int version;
        @ManyToOne(fetch = FetchType.LAZY) public Author author;
    }

    static void hibernate(String url, boolean policy) {
        Configuration conf = new Configuration().addAnnotatedClass(Customer.class);
        if (!policy) {
            conf.addAnnotatedClass(Author.class).addAnnotatedClass(Book.class).setProperty("hibernate.hbm2ddl.auto", "create-drop")
                .setProperty("jakarta.persistence.schema-generation.create-source", "metadata")
                .setProperty("hibernate.hbm2ddl.schema_filter_provider", Filter.class.getName());
        }
        conf.setProperty("hibernate.connection.url", url).setProperty("hibernate.connection.username", System.getenv("PGUSER"))
            .setProperty("hibernate.connection.password", System.getenv("PGPASSWORD")).setProperty("hibernate.connection.pool_size", "2");
        try (SessionFactory f = conf.buildSessionFactory()) {
            if (policy) {
                step("hibernate masked", () -> f.fromSession(s -> s.find(Customer.class, 1).email));
                step("hibernate refused", () -> f.fromSession(s -> {
                    try {
                        return s.createQuery("from App$Customer where ssn = '1'", Customer.class).list().size();
                    } catch (Exception e) {
                        Throwable t = e;
                        while (!(t instanceof SQLException) && t.getCause() != null) {
                            t = t.getCause();
                        }
                        return ((SQLException) t).getSQLState();
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
                return s.createQuery("select b.title || ' ' || b.version || ' ' || b.author.name from App$Book b order by b.id", String.class).list();
            }));
            step("hibernate stream", () -> f.fromTransaction(s -> s.createQuery("from App$Customer order by id", Customer.class).setFetchSize(2).stream().map(x -> x.name).toList()));
            step("hibernate unique", () -> {
                try {
                    f.inTransaction(s -> {
                        Author a = new Author();
                        a.name = "Ana";
                        s.persist(a);
                    });
                    return "none";
                } catch (Exception e) {
                    Throwable t = e;
                    while (!(t instanceof SQLException) && t.getCause() != null) {
                        t = t.getCause();
                    }
                    return ((SQLException) t).getSQLState();
                }
            });
        }
    }

    /** Keeps Hibernate's schema tool from the tables that are not its own. */
    public static class Filter implements org.hibernate.tool.schema.spi.SchemaFilterProvider {
        static final org.hibernate.tool.schema.spi.SchemaFilter OWN = new org.hibernate.tool.schema.spi.SchemaFilter() {
            public boolean includeNamespace(org.hibernate.boot.model.relational.Namespace n) { return true; }
            public boolean includeTable(org.hibernate.mapping.Table t) { return t.getName().startsWith("hib_"); }
            public boolean includeSequence(org.hibernate.boot.model.relational.Sequence s) { return true; }
        };
        public org.hibernate.tool.schema.spi.SchemaFilter getCreateFilter() { return OWN; }
        public org.hibernate.tool.schema.spi.SchemaFilter getDropFilter() { return OWN; }
        public org.hibernate.tool.schema.spi.SchemaFilter getMigrateFilter() { return OWN; }
        public org.hibernate.tool.schema.spi.SchemaFilter getTruncatorFilter() { return OWN; }
        public org.hibernate.tool.schema.spi.SchemaFilter getValidateFilter() { return OWN; }
    }
}

-- The schema of the non-interference test. Classed columns: see policy.yaml.
-- Rows are in a.sql and b.sql, which differ in classed values only.
CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE SCHEMA crm;
CREATE SCHEMA app;
CREATE SCHEMA other;

CREATE TYPE order_status AS ENUM ('new', 'paid', 'shipped', 'returned');
CREATE DOMAIN positive_int AS integer CHECK (VALUE > 0);

CREATE TABLE customers (
    id       integer PRIMARY KEY,
    name     text NOT NULL,
    city     text,
    email    text,
    phone    text,
    ssn      text,
    salary   integer,
    score    numeric,
    secret   jsonb,
    note     text,
    created  timestamptz NOT NULL DEFAULT '2026-01-01 00:00:00+00',
    ssn_tail text GENERATED ALWAYS AS (right(ssn, 4)) STORED
);
CREATE UNIQUE INDEX customers_email ON customers (email);
CREATE UNIQUE INDEX customers_ssn ON customers (ssn);
ALTER TABLE customers ADD CONSTRAINT salary_over_id CHECK (salary IS NULL OR salary >= 0 OR id < 0);

CREATE TABLE orders (
    id          integer PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customers (id),
    total       numeric(10, 2) NOT NULL,
    status      order_status NOT NULL DEFAULT 'new',
    card        text,
    placed      timestamptz NOT NULL DEFAULT '2026-02-01 00:00:00+00'
);
CREATE INDEX orders_customer ON orders (customer_id);

CREATE TABLE products (
    id    integer PRIMARY KEY,
    title text NOT NULL,
    price numeric(8, 2) NOT NULL,
    tags  text[],
    attrs jsonb,
    stock positive_int
);
CREATE TABLE order_lines (
    order_id   integer NOT NULL REFERENCES orders (id),
    product_id integer NOT NULL REFERENCES products (id),
    quantity   integer NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (order_id, product_id)
);

CREATE TABLE crm.contacts (
    id          integer PRIMARY KEY,
    customer_id integer REFERENCES customers (id),
    mail        text,
    topic       text
);
CREATE TABLE crm.secret_refs (
    id  integer PRIMARY KEY,
    ref text REFERENCES customers (ssn)
);

CREATE TABLE people (
    id   integer NOT NULL,
    year integer NOT NULL,
    name text,
    ssn  text
) PARTITION BY RANGE (year);
CREATE TABLE people_2025 PARTITION OF people FOR VALUES FROM (2025) TO (2026);
CREATE TABLE people_2026 PARTITION OF people FOR VALUES FROM (2026) TO (2027);
CREATE TABLE staff (grade integer) INHERITS (crm.contacts);

CREATE TABLE documents (
    id        integer PRIMARY KEY,
    title     text,
    body      text,
    embedding real[]
);
CREATE TABLE scratch (id integer, a text, b integer, email text, ssn text);
CREATE TABLE events (id integer PRIMARY KEY, kind text, payload jsonb, at timestamptz DEFAULT '2026-03-01 00:00:00+00');
CREATE TABLE accounts (id integer PRIMARY KEY, owner text, ssn text, balance integer);
ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY by_ssn ON accounts USING (ssn LIKE '1%') WITH CHECK (true);

CREATE VIEW customer_list AS SELECT id, name, email AS contact, ssn AS tax_number FROM customers;
CREATE VIEW city_stats AS SELECT city, count(*) AS n FROM customers GROUP BY city;
CREATE VIEW nested_list AS SELECT tax_number AS x, id FROM customer_list;
CREATE VIEW rich AS SELECT id, name FROM customers WHERE salary > 50000;
CREATE MATERIALIZED VIEW mat_people AS SELECT id, ssn AS s, name FROM customers WITH NO DATA;

CREATE FUNCTION app.read_ssn(who integer) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM customers WHERE id = who';
CREATE FUNCTION app.noisy(t text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'value %', t; RETURN t; END$$;
CREATE FUNCTION app.read_all() RETURNS SETOF customers LANGUAGE sql STABLE AS 'SELECT * FROM customers';
CREATE FUNCTION app.plain_add(a integer, b integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT a + b';
CREATE FUNCTION app.lies(a integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN RAISE EXCEPTION 'top salary %', (SELECT max(salary) FROM public.customers); END$$;
CREATE FUNCTION app.cust_ssn(c customers) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT c.ssn';
CREATE FUNCTION app.same(a text, b text) RETURNS boolean LANGUAGE plpgsql AS
    $$BEGIN RAISE NOTICE 'compare % %', a, b; RETURN true; END$$;
CREATE OPERATOR app.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = app.same);
CREATE OPERATOR other.= (LEFTARG = text, RIGHTARG = text, FUNCTION = app.same);
CREATE FUNCTION other.lower(t text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'low %', t; RETURN t; END$$;
CREATE FUNCTION app.tell() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE NOTICE 'row %', (SELECT string_agg(ssn, ',') FROM public.customers); RETURN NEW; END$$;
CREATE TABLE triggered (id integer, v text);
CREATE TRIGGER tell BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION app.tell();
CREATE TABLE ruled (id integer, v text);
CREATE RULE leak AS ON INSERT TO ruled DO ALSO SELECT ssn FROM customers;
CREATE RULE keep AS ON UPDATE TO ruled DO ALSO INSERT INTO scratch (id, a) SELECT 99, ssn FROM customers WHERE id = 1;
CREATE FUNCTION app.peek(a integer, b integer) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM customers WHERE id = a';
CREATE OPERATOR app.<~> (LEFTARG = integer, RIGHTARG = integer, FUNCTION = app.peek);
CREATE SEQUENCE tickets;
CREATE PROCEDURE app.dump_all() LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE '%', (SELECT max(ssn) FROM public.customers); END$$;
CREATE TABLE people_default (id integer, v text DEFAULT app.read_ssn(1));
CREATE STATISTICS cust_stats (mcv) ON city, ssn FROM customers;
CREATE TABLE by_ssn (id integer, ssn text) PARTITION BY LIST (ssn);
CREATE TABLE by_ssn_low PARTITION OF by_ssn FOR VALUES IN ('1', '2', '3');
CREATE TABLE by_ssn_rest PARTITION OF by_ssn DEFAULT;

-- The schema of MySQL's non-interference test. Classed columns: see
-- policy.yaml. Rows are in a.sql and b.sql, which differ in classed values
-- only.
CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
CREATE DATABASE crm CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
USE shop;

CREATE TABLE customers (
    id       INT NOT NULL PRIMARY KEY,
    name     VARCHAR(80) NOT NULL,
    city     VARCHAR(40),
    email    VARCHAR(120),
    phone    VARCHAR(30),
    ssn      VARCHAR(20),
    salary   INT,
    score    DECIMAL(10, 3),
    secret   LONGTEXT,
    note     VARCHAR(200),
    born     DATE,
    created  DATETIME NOT NULL DEFAULT '2026-01-01 00:00:00',
    ssn_tail VARCHAR(4) GENERATED ALWAYS AS (RIGHT(ssn, 4)) STORED,
    CONSTRAINT salary_over_id CHECK (salary IS NULL OR salary >= 0 OR id < 0)
);
CREATE UNIQUE INDEX customers_email ON customers (email);
CREATE UNIQUE INDEX customers_ssn ON customers (ssn);

CREATE TABLE orders (
    id          INT NOT NULL PRIMARY KEY,
    customer_id INT NOT NULL,
    total       DECIMAL(10, 2) NOT NULL,
    status      ENUM ('new', 'paid', 'shipped', 'returned') NOT NULL DEFAULT 'new',
    card        VARCHAR(30),
    placed      DATETIME NOT NULL DEFAULT '2026-02-01 00:00:00',
    CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customers (id)
);

CREATE TABLE products (
    id    INT NOT NULL PRIMARY KEY AUTO_INCREMENT,
    title VARCHAR(80) NOT NULL,
    price DECIMAL(8, 2) NOT NULL,
    attrs LONGTEXT,
    stock INT UNSIGNED NOT NULL DEFAULT 0,
    image BLOB
);
CREATE TABLE order_lines (
    order_id   INT NOT NULL,
    product_id INT NOT NULL,
    quantity   INT NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (order_id, product_id),
    CONSTRAINT lines_order FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT lines_product FOREIGN KEY (product_id) REFERENCES products (id)
);
CREATE TABLE crm.contacts (
    id          INT NOT NULL PRIMARY KEY,
    customer_id INT,
    mail        VARCHAR(120),
    topic       VARCHAR(40)
);
CREATE TABLE secret_refs (
    id  INT NOT NULL PRIMARY KEY,
    ref VARCHAR(20),
    CONSTRAINT refs_ssn FOREIGN KEY (ref) REFERENCES customers (ssn)
);
CREATE TABLE people (
    id   INT NOT NULL,
    year INT NOT NULL,
    name VARCHAR(40),
    ssn  VARCHAR(20),
    PRIMARY KEY (id, year)
) PARTITION BY RANGE (year) (PARTITION p2025 VALUES LESS THAN (2026), PARTITION p2026 VALUES LESS THAN (2027));
CREATE TABLE scratch (id INT, a VARCHAR(200), b INT, email VARCHAR(120), ssn VARCHAR(20));
CREATE TABLE events (id INT NOT NULL PRIMARY KEY, kind VARCHAR(20), payload LONGTEXT, at DATETIME DEFAULT '2026-03-01 00:00:00');
CREATE TABLE accounts (id INT NOT NULL PRIMARY KEY, owner VARCHAR(40), ssn VARCHAR(20), balance INT);
CREATE TABLE tree (id INT NOT NULL PRIMARY KEY, parent INT, label VARCHAR(40));

-- Indexes over the beginning of a column and over what is made of one.
CREATE TABLE indexed (
    id    INT NOT NULL PRIMARY KEY,
    email VARCHAR(120),
    ssn   VARCHAR(20),
    label VARCHAR(80),
    three VARCHAR(3) GENERATED ALWAYS AS (LEFT(email, 3)) STORED,
    tail  VARCHAR(4) GENERATED ALWAYS AS (RIGHT(ssn, 4)) VIRTUAL,
    UNIQUE beginning (email(2)),
    UNIQUE three (three),
    KEY tail (tail)
);
CREATE TABLE words (id INT NOT NULL PRIMARY KEY, ssn VARCHAR(80), note VARCHAR(80), FULLTEXT (ssn), FULLTEXT (note));

CREATE VIEW customer_list AS SELECT id, name, email AS contact, ssn AS tax_number FROM customers;
CREATE VIEW city_stats AS SELECT city, COUNT(*) AS n FROM customers GROUP BY city;
CREATE VIEW nested_list AS SELECT tax_number AS x, id FROM customer_list;
CREATE VIEW rich AS SELECT id, name FROM customers WHERE salary > 50000;

CREATE FUNCTION read_ssn(who INT) RETURNS VARCHAR(20) READS SQL DATA RETURN (SELECT ssn FROM customers WHERE id = who);
CREATE FUNCTION plain_add(a INT, b INT) RETURNS INT DETERMINISTIC NO SQL RETURN a + b;
CREATE FUNCTION same_text(a VARCHAR(100)) RETURNS VARCHAR(100) DETERMINISTIC NO SQL RETURN a;
CREATE PROCEDURE dump_all() READS SQL DATA SELECT ssn FROM customers;
CREATE TABLE triggered (id INT, v VARCHAR(100));
CREATE TRIGGER tell BEFORE INSERT ON triggered FOR EACH ROW SET NEW.v = (SELECT MAX(ssn) FROM customers);
CREATE SEQUENCE tickets;

-- shop.sql's shop in MariaDB: the same tables, names and values. Embeddings are
-- JSON, since this MariaDB has no vectors.
CREATE TABLE customers (
    id      INT NOT NULL PRIMARY KEY AUTO_INCREMENT,
    name    VARCHAR(60) NOT NULL,
    email   VARCHAR(80) NOT NULL UNIQUE,
    phone   VARCHAR(30),
    ssn     VARCHAR(11),
    city    VARCHAR(40) NOT NULL,
    salary  INT,
    joined  DATE NOT NULL
);
INSERT INTO customers (name, email, phone, ssn, city, salary, joined)
SELECT CONCAT(first, ' ', last),
       CONCAT(LOWER(first), '.', LOWER(last), i, '@', ELT(1 + i % 3, 'example.com', 'mail.example', 'shop.example')),
       CONCAT('+351 21 ', LPAD(i * 7919 % 1000, 3, '0'), ' ', LPAD(i * 104729 % 10000, 4, '0')),
       CONCAT(LPAD(i * 37 % 900 + 100, 3, '0'), '-', LPAD(i * 11 % 90 + 10, 2, '0'), '-', LPAD(i * 6151 % 10000, 4, '0')),
       ELT(1 + i % 5, 'Lisbon', 'Porto', 'Madrid', 'Lyon', 'Ghent'),
       24000 + (i * 7907 % 60) * 1000,
       DATE '2023-01-01' + INTERVAL i * 13 % 1000 DAY
FROM (SELECT seq AS i,
             ELT(1 + seq % 12, 'Ana', 'Bruno', 'Carla', 'Diego', 'Elena', 'Filip', 'Greta', 'Hugo', 'Ines', 'Jonas', 'Karin', 'Luis') AS first,
             ELT(1 + seq % 11, 'Almeida', 'Braga', 'Costa', 'Dias', 'Esteves', 'Faria', 'Gomes', 'Horta', 'Iglesias', 'Jansen', 'Klein') AS last
      FROM seq_1_to_500) names ORDER BY i;

CREATE TABLE products (
    id    INT NOT NULL PRIMARY KEY AUTO_INCREMENT,
    title VARCHAR(60) NOT NULL,
    price DECIMAL(8, 2) NOT NULL
);
INSERT INTO products (title, price)
SELECT CONCAT(ELT(1 + seq % 8, 'Teapot', 'Kettle', 'Cup', 'Saucer', 'Spoon', 'Tray', 'Tin', 'Strainer'), ' no. ', seq), 4 + seq * 1.35
FROM seq_1_to_40 ORDER BY seq;

CREATE TABLE orders (
    id          INT NOT NULL PRIMARY KEY AUTO_INCREMENT,
    customer_id INT NOT NULL,
    placed      DATETIME NOT NULL,
    status      VARCHAR(10) NOT NULL,
    total       DECIMAL(10, 2) NOT NULL,
    card        VARCHAR(19) NOT NULL,
    KEY orders_customer (customer_id),
    CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customers (id)
);
INSERT INTO orders (customer_id, placed, status, total, card)
SELECT 1 + seq * 17 % 500, TIMESTAMP '2026-01-01 08:00:00' + INTERVAL seq * 53 MINUTE,
       ELT(1 + seq % 4, 'paid', 'shipped', 'returned', 'new'), 10 + seq * 29 % 400,
       CONCAT('4111 1111 1111 ', LPAD(seq * 31 % 10000, 4, '0'))
FROM seq_1_to_20000 ORDER BY seq;

CREATE TABLE documents (
    id        INT NOT NULL PRIMARY KEY AUTO_INCREMENT,
    title     VARCHAR(60) NOT NULL,
    body      TEXT NOT NULL,
    embedding JSON NOT NULL
);
INSERT INTO documents (title, body, embedding)
SELECT CONCAT('How to brew, part ', seq), CONCAT('Warm the pot, wait ', seq, ' minutes, pour slowly.'),
       JSON_ARRAY(SIN(seq), COS(seq), SIN(seq * 2), COS(seq * 2))
FROM seq_1_to_60 ORDER BY seq;

CREATE VIEW customer_totals AS
SELECT c.id, c.name, c.email, COUNT(o.id) AS orders, COALESCE(SUM(o.total), 0) AS spent
FROM customers c LEFT JOIN orders o ON o.customer_id = c.id
GROUP BY c.id; -- the rest depends on it; GROUP BY sorts here, and sorting by email is refused
ANALYZE TABLE customers, products, orders, documents;

-- Rows with classed values: the other file has others.
USE shop;
INSERT INTO customers (id, name, city, email, phone, ssn, salary, score, secret, note, born) VALUES
    (1, 'Ana', 'Porto', 'ana@example.com', NULL, '902-90-9008', 86000, 81.968, '{"pin": "none", "x": [1]}', 'note 1', '1940-01-11'),
    (2, 'Bruno', 'Lisbon', 'bxxxx@example.com', '+1 555 97', '805-81-8017', 73000, 72.937, '{"pin": "none", "x": [2]}', NULL, '1950-02-12'),
    (3, 'Carla', 'Porto', 'cabcd@example.com', NULL, NULL, 60000, 63.906, '{"pin": "none", "x": [3]}', 'note 3', '1960-03-13'),
    (4, 'Dinis', 'Braga', 'dyyyy@example.com', '+1 555 95', '611-63-6035', 47000, 54.875, '{"pin": "none", "x": [4]}', NULL, '1970-04-14'),
    (5, 'Eva', NULL, NULL, NULL, '514-54-5044', 34000, 45.844, '{"pin": "none", "x": [5]}', 'note 5', '1980-05-15'),
    (6, 'Filipe', 'Lisbon', 'fzzzz@example.com', '+1 555 93', '417-45-4053', 21000, 36.813, '{"pin": "none", "x": [6]}', NULL, '1990-06-16'),
    (7, 'Berta', 'Faro', 'bzzzz@example.com', 'x', 'zz', 2147483647, 9999999.999, NULL, 'last', '1970-07-17');
INSERT INTO orders (id, customer_id, total, status, card, placed) VALUES
    (1, 2, 13.50, 'paid', '5500 0000 0000 9998', '2026-02-11 10:00:00'),
    (2, 3, 26.50, 'shipped', '5500 0000 0000 9997', '2026-03-12 10:00:00'),
    (3, 4, 39.50, 'returned', '5500 0000 0000 9996', '2026-01-13 10:00:00'),
    (4, 5, 52.50, 'new', '5500 0000 0000 9995', '2026-02-14 10:00:00'),
    (5, 6, 65.50, 'paid', '5500 0000 0000 9994', '2026-03-15 10:00:00'),
    (6, 1, 78.50, 'shipped', '5500 0000 0000 9993', '2026-01-16 10:00:00'),
    (7, 2, 91.50, 'returned', '5500 0000 0000 9992', '2026-02-17 10:00:00'),
    (8, 3, 104.50, 'new', '5500 0000 0000 9991', '2026-03-18 10:00:00'),
    (9, 4, 117.50, 'paid', '5500 0000 0000 9990', '2026-01-10 10:00:00'),
    (10, 5, 130.50, 'shipped', '5500 0000 0000 9989', '2026-02-11 10:00:00'),
    (11, 6, 143.50, 'returned', '5500 0000 0000 9988', '2026-03-12 10:00:00'),
    (12, 1, 156.50, 'new', '5500 0000 0000 9987', '2026-01-13 10:00:00');
INSERT INTO order_lines VALUES (1, 2, 2), (2, 3, 3), (3, 4, 1), (4, 5, 2), (5, 6, 3), (6, 7, 1), (7, 8, 2), (8, 1, 3), (9, 2, 1), (10, 3, 2), (11, 4, 3), (12, 5, 1);
INSERT INTO crm.contacts VALUES (1, 1, 'ana@example.com', 'sales'), (2, 2, 'bxxxx@example.com', 'help'), (3, 3, NULL, 'sales');
INSERT INTO people VALUES (1, 2025, 'Gil', '999-88-7777'), (2, 2026, 'Hugo', '888-77-6666'), (3, 2026, 'Ines', '123-12-1234');
INSERT INTO accounts VALUES (1, 'Ana', '555-55-5555', 100), (2, 'Bruno', '444-44-4444', 200);
INSERT INTO indexed (id, email, ssn, label) VALUES (1, 'zoe@example.com', '902-90-9008', 'one'), (2, 'yuri@example.com', '805-81-8017', 'two'), (3, 'xavier@example.com', NULL, 'three');
INSERT INTO words VALUES (1, 'omega', 'one two three'), (2, NULL, 'three');
ANALYZE TABLE customers, orders, people, indexed;

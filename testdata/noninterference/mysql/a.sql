-- Rows with classed values: the other file has others.
USE shop;
INSERT INTO customers (id, name, city, email, phone, ssn, salary, score, secret, note, born) VALUES
    (1, 'Ana', 'Porto', 'ana@example.com', '+351 911', '111-11-1111', 39000, 3.007, '{"pin": 1001}', 'note 1', '1940-01-11'),
    (2, 'Bruno', 'Lisbon', 'bruno@example.com', '+351 912', '222-22-2222', 48000, 6.014, '{"pin": 1002}', NULL, '1950-02-12'),
    (3, 'Carla', 'Porto', 'carla@example.com', '+351 913', '333-33-3333', 57000, 9.021, '{"pin": 1003}', 'note 3', '1960-03-13'),
    (4, 'Dinis', 'Braga', 'dinis@example.com', '+351 914', '444-44-4444', 66000, 12.028, '{"pin": 1004}', NULL, '1970-04-14'),
    (5, 'Eva', NULL, NULL, '+351 915', '555-55-5555', 75000, 15.035, '{"pin": 1005}', 'note 5', '1980-05-15'),
    (6, 'Filipe', 'Lisbon', 'filipe@example.com', '+351 916', '666-66-6666', 84000, 18.042, '{"pin": 1006}', NULL, '1990-06-16'),
    (7, 'Berta', 'Faro', 'berta@example.com', '+49 7', '700-07-7007', 5, 0.5, '[]', 'last', '1970-07-17');
INSERT INTO orders (id, customer_id, total, status, card, placed) VALUES
    (1, 2, 13.50, 'paid', '4111 1111 1111 0001', '2026-02-11 10:00:00'),
    (2, 3, 26.50, 'shipped', '4111 1111 1111 0002', '2026-03-12 10:00:00'),
    (3, 4, 39.50, 'returned', '4111 1111 1111 0003', '2026-01-13 10:00:00'),
    (4, 5, 52.50, 'new', '4111 1111 1111 0004', '2026-02-14 10:00:00'),
    (5, 6, 65.50, 'paid', '4111 1111 1111 0005', '2026-03-15 10:00:00'),
    (6, 1, 78.50, 'shipped', '4111 1111 1111 0006', '2026-01-16 10:00:00'),
    (7, 2, 91.50, 'returned', '4111 1111 1111 0007', '2026-02-17 10:00:00'),
    (8, 3, 104.50, 'new', '4111 1111 1111 0008', '2026-03-18 10:00:00'),
    (9, 4, 117.50, 'paid', '4111 1111 1111 0009', '2026-01-10 10:00:00'),
    (10, 5, 130.50, 'shipped', '4111 1111 1111 0010', '2026-02-11 10:00:00'),
    (11, 6, 143.50, 'returned', '4111 1111 1111 0011', '2026-03-12 10:00:00'),
    (12, 1, 156.50, 'new', '4111 1111 1111 0012', '2026-01-13 10:00:00');
INSERT INTO order_lines VALUES (1, 2, 2), (2, 3, 3), (3, 4, 1), (4, 5, 2), (5, 6, 3), (6, 7, 1), (7, 8, 2), (8, 1, 3), (9, 2, 1), (10, 3, 2), (11, 4, 3), (12, 5, 1);
INSERT INTO crm.contacts VALUES (1, 1, 'ana@example.com', 'sales'), (2, 2, 'bruno@example.com', 'help'), (3, 3, NULL, 'sales');
INSERT INTO people VALUES (1, 2025, 'Gil', '111-22-3333'), (2, 2026, 'Hugo', '222-33-4444'), (3, 2026, 'Ines', '333-44-5555');
INSERT INTO accounts VALUES (1, 'Ana', '123-45-6789', 100), (2, 'Bruno', '987-65-4321', 200);
INSERT INTO indexed (id, email, ssn, label) VALUES (1, 'ana@example.com', '111-11-1111', 'one'), (2, 'bruno@example.com', '222-22-2222', 'two'), (3, 'carla@example.com', '333-33-3333', 'three');
INSERT INTO words VALUES (1, 'alpha beta gamma', 'one two three'), (2, 'delta', 'three');
ANALYZE TABLE customers, orders, people, indexed;

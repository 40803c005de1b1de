-- One side. The emails of a.sql and b.sql are related by a renaming that is
-- one-to-one, keeps NULL, keeps ana@example.com (the constant that clients
-- send) and keeps what the partial mask shows.
INSERT INTO customers (id, name, city, email, phone, ssn, salary, score, secret, note) VALUES
 (1, 'Ana',   'Lisbon', 'ana@example.com',      '+351 21 555 1111', '123-45-6789', 41000, 1.5,   '{"pin": 1234}', 'likes tea'),
 (2, 'Bruno', 'Porto',  'bruno@example.com',    '+351 22 555 2222', '223-45-6789', 52000, 2.25,  '{"pin": 42, "x": [1,2]}', NULL),
 (3, 'Carla', 'Lisbon', 'carla@shop.example',   '+351 23 555 3333', '323-45-6789', 0,     -7,    '[]', 'vip'),
 (4, 'Diego', 'Madrid', 'diego@shop.example',   NULL,               NULL,          NULL,  NULL,  NULL, 'slow payer'),
 (5, 'Elena', 'Madrid', NULL,                   '+34 91 555 5555',  '523-45-6789', 99000, 1e20,  '"text"', ''),
 (6, 'Filip', 'Porto',  'filip@example.com',    '+48 22 555 6666',  '9',           7,     0,     '{"pin": null}', 'x'),
 (7, 'Berta', 'Faro',   'berta@example.com',    '+351 25 555 7777', '723-45-6789', 12000, 3,     '{}', 'before Bruno here, behind him there');
INSERT INTO orders (id, customer_id, total, status, card) SELECT i, 1 + i % 6, i * 10.5, (ARRAY['new','paid','shipped','returned'])[1 + i % 4]::order_status, '4111 1111 1111 ' || 1000 + i FROM generate_series(1, 24) i;
INSERT INTO order_lines SELECT i, 1 + i % 20, 1 + i % 3 FROM generate_series(1, 24) i;
INSERT INTO crm.contacts VALUES (1, 1, 'ana@example.com', 'sales'), (2, 2, 'bruno@example.com', 'support'), (3, 3, 'zoe@example.com', 'sales'), (4, 4, NULL, 'press'), (5, 7, 'berta@example.com', 'sales');
INSERT INTO crm.secret_refs VALUES (1, '123-45-6789'), (2, NULL);
INSERT INTO people VALUES (1, 2025, 'Ana', '123-45-6789'), (2, 2025, 'Bruno', '223-45-6789'), (3, 2026, 'Carla', NULL), (4, 2026, 'Diego', '999-99-9999');
INSERT INTO staff VALUES (10, 1, 'boss@example.com', 'hr', 3);
INSERT INTO accounts VALUES (1, 'ana', '123', 10), (2, 'bruno', '923', 20), (3, 'carla', '133', 30);
INSERT INTO by_ssn VALUES (1, '1'), (2, '9'), (3, NULL);
REFRESH MATERIALIZED VIEW mat_people;

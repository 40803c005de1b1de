-- The other side: see a.sql.
INSERT INTO customers (id, name, city, email, phone, ssn, salary, score, secret, note) VALUES
 (1, 'Ana',   'Lisbon', 'ana@example.com',      '+1 800 123 4567',  'zzz',         0,      0,     NULL, 'likes tea'),
 (2, 'Bruno', 'Porto',  'bxxxx@example.com',    NULL,               NULL,          NULL,   NULL,  '{"other": true}', NULL),
 (3, 'Carla', 'Lisbon', 'cabcd@shop.example',   '12',               '1',           2147483647, 9e30, '7', 'vip'),
 (4, 'Diego', 'Madrid', 'dyyyy@shop.example',   '+99 1 234 567 890 123 456', repeat('long value ', 400), 41000, 1.5, '{"pin": 1234}', 'slow payer'),
 (5, 'Elena', 'Madrid', NULL,                   '',                 '',            1,      -1,    '{"pin": "é"}', ''),
 (6, 'Filip', 'Porto',  'fzzzz@example.com',    'x',                E'tab\there',  100000, 0.1,   '[1,2,3]', 'x'),
 (7, 'Berta', 'Faro',   'bzzzz@example.com',    '7',                '77',          1,      2,     '[]', 'before Bruno here, behind him there');
INSERT INTO orders (id, customer_id, total, status, card) SELECT i, 1 + i % 6, i * 10.5, (ARRAY['new','paid','shipped','returned'])[1 + i % 4]::order_status, CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '5500 0000 0000 0004' ELSE 'none' END FROM generate_series(1, 24) i;
INSERT INTO order_lines SELECT i, 1 + i % 20, 1 + i % 3 FROM generate_series(1, 24) i;
INSERT INTO crm.contacts VALUES (1, 1, 'ana@example.com', 'sales'), (2, 2, 'bxxxx@example.com', 'support'), (3, 3, 'zed@example.com', 'sales'), (4, 4, NULL, 'press'), (5, 7, 'bzzzz@example.com', 'sales');
INSERT INTO crm.secret_refs VALUES (1, 'zzz'), (2, NULL);
INSERT INTO people VALUES (1, 2025, 'Ana', NULL), (2, 2025, 'Bruno', 'abc'), (3, 2026, 'Carla', '1'), (4, 2026, 'Diego', repeat('9', 3000));
INSERT INTO staff VALUES (10, 1, 'bill@example.com', 'hr', 3);
INSERT INTO accounts VALUES (1, 'ana', '999', 10), (2, 'bruno', '123', 20), (3, 'carla', NULL, 30);
INSERT INTO by_ssn VALUES (1, '7'), (2, '2'), (3, '1');
REFRESH MATERIALIZED VIEW mat_people;

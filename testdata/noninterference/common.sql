-- Rows that are the same in both databases.
INSERT INTO products SELECT i, 'Product ' || i, 5 + i * 1.25, ARRAY['tag' || i % 3, 'all'], jsonb_build_object('color', CASE i % 2 WHEN 0 THEN 'red' ELSE 'blue' END, 'weight', i), i FROM generate_series(1, 20) i;
INSERT INTO documents SELECT i, 'Doc ' || i, 'Body of document ' || i, ARRAY[i * 0.1, i * 0.2, 1]::real[] FROM generate_series(1, 10) i;
INSERT INTO events SELECT i, CASE i % 2 WHEN 0 THEN 'click' ELSE 'view' END, jsonb_build_object('page', 'p' || i) FROM generate_series(1, 30) i;
INSERT INTO scratch VALUES (1, 'one', 10, 'ana@example.com', NULL), (2, 'two', 20, NULL, NULL);
INSERT INTO ruled VALUES (1, 'x');

-- Rows that both databases have.
USE shop;
INSERT INTO products (id, title, price, attrs, stock, image) VALUES
    (1, 'Product 1', 10.07, '{"color": "blue", "weight": 3}', 5, X'0101'),
    (2, 'Product 2', 20.14, '{"color": "red", "weight": 6}', 10, X'0202'),
    (3, 'Product 3', 30.21, '{"color": "blue", "weight": 9}', 15, X'0303'),
    (4, 'Product 4', 40.28, '{"color": "red", "weight": 12}', 20, X'0404'),
    (5, 'Product 5', 50.35, '{"color": "blue", "weight": 15}', 25, X'0505'),
    (6, 'Product 6', 60.42, '{"color": "red", "weight": 18}', 30, X'0606'),
    (7, 'Product 7', 70.49, '{"color": "blue", "weight": 21}', 35, X'0707'),
    (8, 'Product 8', 80.56, '{"color": "red", "weight": 24}', 40, X'0808');
INSERT INTO events (id, kind, payload) VALUES (1, 'logout', '{"n": 1}'), (2, 'view', '{"n": 2}'), (3, 'login', '{"n": 3}'), (4, 'logout', '{"n": 4}'), (5, 'view', '{"n": 5}'), (6, 'login', '{"n": 6}'), (7, 'logout', '{"n": 7}'), (8, 'view', '{"n": 8}'), (9, 'login', '{"n": 9}'), (10, 'logout', '{"n": 10}'), (11, 'view', '{"n": 11}'), (12, 'login', '{"n": 12}');
INSERT INTO tree VALUES (1, NULL, 'root'), (2, 1, 'left'), (3, 1, 'right'), (4, 2, 'leaf');

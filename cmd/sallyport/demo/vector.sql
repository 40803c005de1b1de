-- Only where the server has pgvector: the embeddings as vectors.
CREATE EXTENSION vector;
ALTER TABLE documents ADD COLUMN embedding_v vector(4);
UPDATE documents SET embedding_v = embedding::vector WHERE id > 0;

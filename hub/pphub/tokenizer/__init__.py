"""Makes of a ``tokenizer.json`` the files that PaddleNLP's tokenizers are made of."""

-- readable-from: 1
CREATE TABLE base_urls (
    api TEXT NOT NULL,
    address TEXT NOT NULL,
    spellings TEXT NOT NULL,
    PRIMARY KEY (api, address)
);

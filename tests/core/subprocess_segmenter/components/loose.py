def find(tile):
    return tile[0] > 2


number = 3

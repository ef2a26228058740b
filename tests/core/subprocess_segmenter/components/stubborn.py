class Stubborn:
    def __init__(self):
        raise OSError("its weights are gone")


class Useless:
    pass


class Unadaptable:
    def adapt(self, sample, diameter):
        return None

    def segment(self, tile):
        pass

    def facts(self):
        return {"a": {1, 2}}

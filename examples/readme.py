from inventory import Inventory

with Inventory(apples=5, pears=2) as inventory:  # starts a process
    print(inventory.take('apples', 3))  # runs there
    items = inventory.items()
    items['plums'] = 7  # changes the dict there
    print(inventory.take('plums'), len(items), sorted(items))
    try:
        inventory.take('figs')
    except KeyError as error:
        print(f'no {error} here')
